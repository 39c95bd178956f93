"""What every data set gives: examples, and which of them each quenched sample learns from.

The quenched disorder of a network run is its data. Examples stay as they are stored (bytes, for images);
what enters the network is scale · inputs + shift, channel by channel. Integers, such as tokens, enter as
they are.

What the outputs of a network are compared with is the labels: the index of a class for each example, or for
each position of a sequence; or real numbers (regression). Without labels it is the input itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError

from .data_keys import CountKey as CountKey
from .data_keys import DataKeys as DataKeys
from .held import BLOCK as BLOCK
from .held import Data as Data
from .held import Examples as Examples
from .held import Inputs as Inputs
from .held import Labels as Labels
from .structure import StructureKeys as StructureKeys

if TYPE_CHECKING:
    from langevin.config.settings import Settings


def shares(
    ensemble: Ensemble, role: str, available: int, wanted: int | Literal["all"]
) -> dict[int, NDArray[np.int64]]:
    """Return which examples each quenched sample uses: sample label → indices, shape (wanted,).

    A subset is the beginning of a random order that depends on (seed, role, sample) alone, so that a larger
    one contains the smaller.

    Parameters
    ----------
    ensemble : Ensemble
    role : str
        Of the quenched stream: "data" for training, "test data" for test examples.
    available : int
        Examples there are.
    wanted : int or "all"
    """
    samples = sorted({int(s) for s in ensemble.sample})
    if wanted == "all" or wanted >= available:
        return {s: np.arange(available) for s in samples}
    return {s: ensemble.quenched(role, s).permutation(available)[:wanted] for s in samples}


def count_faults(settings: Settings, name: str, sizes: tuple[int, int]) -> Iterable[str]:
    """Yield what is wrong with the numbers of examples and of samples, for a set that is always the same.

    Parameters
    ----------
    settings : Settings
    name : str
        Name of the data set.
    sizes : (int, int)
        How many training and test examples there are.
    """
    for which, size in zip(("train", "test"), sizes, strict=True):
        wanted = getattr(settings.data, which)
        if wanted != "all" and wanted > size:
            yield f"data.{which} = {wanted}: must be ≤ {size}, all of {name}"
    samples = settings.ensemble.samples
    if settings.data.structure.differs:
        # The examples are the same, but not what is made of them.
        return
    if samples > 1 and settings.data.train in ("all", sizes[0]):
        yield (
            f"ensemble.samples = {samples}: must be 1 with all of {name} (all samples would be the same); "
            f"allowed with a random subset, data.train < {sizes[0]}"
        )


def scaling(inputs: NDArray[np.uint8], how: Literal["standard", "unit"]) -> tuple[NDArray[np.float32], ...]:
    """Return (scale, shift), float32 of shape (channels,) each, for images of bytes.

    Parameters
    ----------
    inputs : ndarray of uint8, shape (P, channels, height, width)
    how : {"standard", "unit"}
        Mean 0 and variance 1 of each channel over all P images, or 0 … 255 → 0 … 1.

    Raises
    ------
    UserError
        If a channel to standardise is constant.
    """
    channels = inputs.shape[1]
    if how == "unit":
        return np.full(channels, 1 / 255, dtype=np.float32), np.zeros(channels, dtype=np.float32)
    # Sums of integers: exact, whatever the order.
    sums = np.zeros((2, channels), dtype=np.uint64)
    for first in range(0, len(inputs), BLOCK):
        block = inputs[first : first + BLOCK]
        sums[0] += block.sum(axis=(0, 2, 3), dtype=np.uint64)
        sums[1] += np.square(block, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)
    mean, square = sums.astype(np.float64) / (inputs.size // channels)
    deviation = np.sqrt(square - mean**2)
    if not (deviation > 0).all():
        channel = int(np.argmin(deviation))
        raise UserError(
            f'data.scaling = "standard": channel {channel} is {mean[channel]:g} everywhere; allowed: "unit"'
        )
    return (1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32)
