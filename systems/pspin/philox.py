r"""Normals from a counter: noise that follows from a key, a step and a site, drawn on any device of torch.

Philox4x32-10 turns a key of two 32-bit words and a counter of four into four random words; the Box-Muller
transform makes four standard normals of them. Here the key is a replica's, drawn from its own stream of the
run's seed, and the counter is (step, step ≫ 32, site / 4, 0): the noise of a replica is the same in any
company, and however the steps are cut into calls. Where it stands is the number of the step, nothing else.

The words are 32 bits wide, so that no normal exceeds √(2·33 ln 2) = 6.8, which one in 10¹¹ would.

References
----------
J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, Proc. SC11, 16 (2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.noise import Noise

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
#: Role of the stream that a replica's key is drawn from.
ROLE = "philox"


def _product(multiplier: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """Return the high and the low 32 bits of a product of two 32-bit words."""
    # It wraps modulo 2⁶⁴, and the arithmetic shift is undone by the mask.
    both = word * multiplier
    return (both >> 32) & _MASK, both & _MASK


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return four random words, each below 2³².

    Parameters
    ----------
    counter : tuple of four Tensors, int64
        Words below 2³², of shapes that broadcast.
    key : tuple of two Tensors, int64
        Likewise.
    """
    a, b, c, d = counter
    k, m = key
    for _ in range(_ROUNDS):
        high_a, low_a = _product(_MULTIPLIERS[0], a)
        high_c, low_c = _product(_MULTIPLIERS[1], c)
        a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
        k, m = (k + _WEYL[0]) & _MASK, (m + _WEYL[1]) & _MASK
    return a, b, c, d


def _pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two standard normals, float64, of two random words."""
    # Half a spacing off 0 and 1: the logarithm is finite.
    radius = torch.sqrt(-2 * torch.log((first.double() + 0.5) * 2.0**-32))
    angle = (second.double() + 0.5) * (2 * math.pi * 2.0**-32)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def normals(keys: Tensor, first: int, steps: int, n: int) -> Tensor:
    """Return the standard normals of consecutive steps.

    Parameters
    ----------
    keys : Tensor of int64, shape (samples, lanes, 2)
        A key for each lane.
    first, steps, n : int
        First step, number of steps, number of sites.

    Returns
    -------
    Tensor, float64, shape (steps, samples, n, lanes)
    """
    step = torch.arange(first, first + steps, device=keys.device)[:, None, None, None]
    quad = torch.arange((n + 3) // 4, device=keys.device)[:, None]
    counter = (step & _MASK, step >> 32, quad, torch.zeros_like(quad))
    words = philox(counter, (keys[:, None, :, 0], keys[:, None, :, 1]))
    four = torch.stack([*_pair(words[0], words[1]), *_pair(words[2], words[3])], dim=3)
    return four.flatten(2, 3)[:, :, :n].contiguous()


def keys(noise: Noise) -> NDArray[np.int64]:
    """Return the keys of a run's replicas, shape (R, 2): the same whatever was drawn from `noise`."""
    drawn = [generator.integers(0, 1 << 32, 2) for generator in noise.beginnings(ROLE)]
    return np.array(drawn, dtype=np.int64).reshape(-1, 2)


class CountedNoise(Noise):
    """Noise whose thermal normals are those of a counter: the plain step sees what steps on a device see.

    Parameters
    ----------
    seed, replica, generation
        As of `Noise`.
    step : int
        The step that the next normals are of.
    """

    def __init__(self, seed: int, replica: Iterable[int], generation: int = 0, step: int = 0) -> None:
        super().__init__(seed, replica, generation)
        self.step = step

    def normal(self, dof: int, role: str = "thermal") -> NDArray[np.float64]:
        """Return standard normals, shape (R, dof); of the role "thermal" those of the next step."""
        if role != "thermal":
            return super().normal(dof, role)
        drawn = normals(torch.from_numpy(keys(self))[None], self.step, 1, dof)
        self.step += 1
        return np.ascontiguousarray(drawn[0, 0].numpy().T)
