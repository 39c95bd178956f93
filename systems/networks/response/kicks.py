"""The response from the thermal noise of the steps, without a field (see `response`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.system import Array

from ..descent.state import NetworkState, dots
from .windows import Advance, Windows, times_of

#: How the sums of a waiting time are called in a saved state.
_MARK = "response_mark"


@dataclass
class Kicks:
    """What the response from the noise follows from: the kicks of the steps so far, and up to t_w.

    Attributes
    ----------
    sums : Tensor of float64, shape (R, M)
        Σ_n k_n.
    products : Tensor of float64, shape (R,)
        Σ_n w'_n·k_n.
    step : int
    marks : dict
        Waiting time → sums and products as they were there.
    """

    sums: Tensor
    products: Tensor
    step: int = 0
    marks: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, rows: slice, weights: Tensor, drawn: Tensor, width: float) -> None:
        """Add kicks of this width, normals of shape (r, M), to the weights of these rows before they move.

        The width is that of `StepRule.conjugate`.
        """
        kick = drawn.double() * width
        self.sums[rows] += kick
        self.products[rows] += dots(weights, kick)

    def copy(self) -> Kicks:
        """Return sums that may be added to; what was marked stays as it is."""
        return Kicks(self.sums.clone(), self.products.clone(), self.step, dict(self.marks))

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return arrays from which `read` makes the same."""
        arrays: dict[str, NDArray[Any]] = {
            "response_step": np.array(self.step),
            "response_sums": self.sums.cpu().numpy(),
            "response_products": self.products.cpu().numpy(),
        }
        for t, (sums, products) in self.marks.items():
            arrays[f"{_MARK}_{t}_sums"] = sums.cpu().numpy()
            arrays[f"{_MARK}_{t}_products"] = products.cpu().numpy()
        return arrays

    @classmethod
    def read(cls, saved: Mapping[str, NDArray[Any]], device: torch.device) -> Kicks:
        """Return the sums whose `saved` arrays these are."""

        def back(name: str) -> Tensor:
            return torch.from_numpy(np.array(saved[name])).to(device)

        marks = {
            t: (back(f"{_MARK}_{t}_sums"), back(f"{_MARK}_{t}_products"))
            for t in times_of(saved, _MARK, "_sums")
        }
        return cls(back("response_sums"), back("response_products"), int(saved["response_step"]), marks)


class FromNoise:
    """The response from the thermal noise.

    Parameters
    ----------
    windows : Windows
    temperature : float
        T > 0; 1 where each kick that is summed has been divided by the temperature of its step.
    """

    def __init__(self, windows: Windows, temperature: float) -> None:
        self.windows, self.temperature = windows, temperature

    def begin(self, state: NetworkState) -> NetworkState:
        """Return a start whose response is followed."""
        sums = torch.zeros_like(state.weights, dtype=torch.float64)
        return replace(state, response=Kicks(sums, sums.new_zeros(len(sums))))

    def load(self, saved: Mapping[str, NDArray[Any]], state: NetworkState) -> NetworkState:
        """Return a restored state with the sums that were saved."""
        return replace(state, response=Kicks.read(saved, state.weights.device))

    def at_waiting(self, state: NetworkState, noise: Array) -> dict[str, Array]:
        """Return nothing: there is no field."""
        return {}

    def advance(
        self, take: Advance, state: NetworkState, first: int, last: int, streams: Sequence[Any]
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1 in place; return what diverged."""
        kicks = _kicks(state)
        for start, stop in self.windows.segments(first, last):
            self.windows.settle(kicks.marks, start, lambda: (kicks.sums.clone(), kicks.products.clone()))
            bad = take(state, start, stop, streams)
            if bad is not None:
                return bad
            kicks.step = stop
        return None

    def compare(self, state: NetworkState, lag: float) -> dict[str, Array]:
        """Return the response over a lag, shape (R,)."""
        kicks = _kicks(state)
        sums, products = kicks.marks[kicks.step - round(lag)]
        found = dots(state.weights, kicks.sums - sums) - (kicks.products - products)
        return {"integrated_response": found.cpu().numpy() / (2 * self.temperature * state.weights.shape[1])}


def _kicks(state: NetworkState) -> Kicks:
    assert isinstance(state.response, Kicks)
    return state.response
