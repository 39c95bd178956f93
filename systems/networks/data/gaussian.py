r"""Gaussian patterns with labels that mean nothing: data without structure, for capacities and jamming.

P patterns in d dimensions, of independent standard normal numbers, are centred, x ← x − ⟨x⟩ over the patterns
of the set, and put on the sphere |x| = √d. Labels take turns, 0, 1, 0, 1, …: they are independent of the
patterns, and as many of either. So are the random data of Spigler, Geiger, d'Ascoli, Sagun, Biroli and Wyart
(arXiv:1810.09665) and Geiger et al. (Phys. Rev. E 100, 012115 (2019)).

Without centring patterns have a distribution that x → −x leaves alone, each by itself. A classifier without
bias sees y x alone, so that its labels may as well be drawn: the theorem of Cover counts exactly how often
such patterns are separable (`langevin.observables.jamming.separable`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import Section, key
from langevin.core.capabilities import ChecksSettings
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.machine.memory import room_faults

from .base import Data, Examples

if TYPE_CHECKING:
    from langevin.config.settings import Settings


class Gaussian(DataSet, ChecksSettings):
    """Normal patterns on a sphere, with labels that take turns; each quenched sample has its own."""

    classes = 2

    class Parameters(Section):
        """What stands under [data]."""

        dimension: int = key("numbers d in a pattern", default=20, ge=1)
        train: int = key("patterns P of each quenched sample", default=400, ge=2)
        test: int = key("further patterns, of which nothing can be known", default=100, ge=2)
        centred: bool = key("take the mean over the patterns off them, before they are scaled", default=True)
        scaling: Literal["standard"] = key("drawn with variance 1, and put on the sphere", default="standard")

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.shape = (parameters.dimension,)

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield that patterns cannot be scaled, or do not fit in memory."""
        keys = settings.data
        if keys.centred and keys.dimension == 1 and min(keys.train, keys.test) == 2:
            # Two numbers and their mean are ±1 for ever.
            yield "data.dimension = 1: must be ≥ 2 with two centred patterns"
        count = settings.ensemble.samples * (keys.train + keys.test)
        said = f"data.dimension = {keys.dimension}, data.train = {keys.train}, data.test = {keys.test}"
        yield from room_faults(
            4.0 * keys.dimension * count, f"{said}, ensemble.samples = {settings.ensemble.samples}"
        )

    def patterns(self, ensemble: Ensemble, sample: int, role: str, count: int) -> Examples:
        """Draw patterns of a quenched sample; before centring fewer are the beginning of more.

        Parameters
        ----------
        ensemble : Ensemble
        sample : int
        role : str
            "data" for training, "test data" for the others.
        count : int
        """
        d = self.parameters.dimension
        x = ensemble.quenched(role, sample).standard_normal((count, d))
        if self.parameters.centred:
            x -= x.mean(axis=0)
        x *= np.sqrt(d) / np.linalg.norm(x, axis=1, keepdims=True)
        return Examples(x.astype(np.float32), np.arange(count) % 2)

    def load(self, ensemble: Ensemble) -> Data:
        """Draw the patterns of every quenched sample of the ensemble, one sample after the other."""
        keys, one = self.parameters, np.ones(self.parameters.dimension, np.float32)
        train, rows = self._joined(ensemble, "data", keys.train)
        test, test_rows = self._joined(ensemble, "test data", keys.test)
        attributes = {
            "source": f"drawn: normal patterns on a sphere in {keys.dimension} dimensions, labels in turn",
            "train_examples": str(keys.train),
            "test_examples": str(keys.test),
        }
        return Data("gaussian", train, test, self.classes, one, 0 * one, rows, test_rows, attributes)

    def _joined(
        self, ensemble: Ensemble, role: str, count: int
    ) -> tuple[Examples, dict[int, NDArray[np.int64]]]:
        samples = sorted({int(s) for s in ensemble.sample})
        parts = [self.patterns(ensemble, s, role, count) for s in samples]
        rows = {s: np.arange(count) + i * count for i, s in enumerate(samples)}
        inputs, labels = (
            np.concatenate(kind) for kind in zip(*((p.inputs, p.labels) for p in parts), strict=True)
        )
        return Examples(inputs, labels), rows
