"""The response from copies of each replica in fields ±h σ, on the same batches and noise (see `response`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array
from langevin.errors import Diverged

from ..descent.state import HELD, NetworkState, dots, restored
from .windows import Advance, Windows, times_of

#: How the arrays of copies are called in a saved state.
_COPY = "response_copy"


@dataclass(frozen=True)
class Pair:
    """Copies of a state in the fields +h σ and −h σ since one waiting time; h of each replica, shape (R,)."""

    plus: NetworkState
    minus: NetworkState
    strength: Array


@dataclass
class Copies:
    """What the response from a field follows from: where the state stands, and its copies by waiting time."""

    step: int = 0
    pairs: dict[int, Pair] = field(default_factory=dict)

    def copy(self) -> Copies:
        """Return copies that may be moved."""
        return Copies(
            self.step, {t: Pair(p.plus.copy(), p.minus.copy(), p.strength) for t, p in self.pairs.items()}
        )

    def saved(self) -> dict[str, NDArray[Any]]:
        """Return arrays from which `read` makes the same."""
        arrays: dict[str, NDArray[Any]] = {"response_step": np.array(self.step)}
        for t, pair in self.pairs.items():
            arrays[f"{_COPY}_{t}_field"] = pair.strength
            for sign, one in (("plus", pair.plus), ("minus", pair.minus)):
                arrays |= {f"{_COPY}_{t}_{sign}_{name}": value for name, value in one.saved().items()}
        return arrays

    @classmethod
    def read(cls, saved: Mapping[str, NDArray[Any]], device: torch.device, like: Sequence[Tensor]) -> Copies:
        """Return the copies whose `saved` arrays these are; `like` as of `state.restored`."""
        pairs = {}
        for t in times_of(saved, _COPY, "_field"):
            start = f"{_COPY}_{t}_"
            plus, minus = (
                restored({n.removeprefix(s): a for n, a in saved.items() if n.startswith(s)}, device, like)
                for s in (f"{start}plus_", f"{start}minus_")
            )
            pairs[t] = Pair(plus, minus, np.array(saved[f"{start}field"]))
        return cls(int(saved["response_step"]), pairs)


def signs(ensemble: Ensemble, step: int, dof: int) -> NDArray[np.float32]:
    """Return the σ = ±1 of every replica and weight for one waiting time, shape (R, M)."""
    count = -(-dof // 8)
    rows = [
        np.unpackbits(
            np.frombuffer(ensemble.driving("field", int(k), step).bytes(count), np.uint8), count=dof
        )
        for k in ensemble.replica
    ]
    return (2 * np.stack(rows).astype(np.float32)) - 1


class FromField:
    """The response from copies in a field.

    Parameters
    ----------
    windows : Windows
    ensemble : Ensemble
    strength : callable
        Of a state at a waiting time, of this time, and of D there if it is known → the field h of each
        replica, shape (R,).
    """

    def __init__(
        self,
        windows: Windows,
        ensemble: Ensemble,
        strength: Callable[[NetworkState, int, Array | None], Array],
    ) -> None:
        self.windows, self.ensemble, self._strength = windows, ensemble, strength
        #: The field where it was last asked for: of which weights, at which step.
        self._known: tuple[Tensor, int, Array] | None = None

    def begin(self, state: NetworkState) -> NetworkState:
        """Return a start whose response is followed."""
        return replace(state, response=Copies())

    def load(self, saved: Mapping[str, NDArray[Any]], state: NetworkState) -> NetworkState:
        """Return a restored state with the copies that were saved."""
        like = [b[0] for b in state.buffers]
        return replace(state, response=Copies.read(saved, state.weights.device, like))

    def strength(self, state: NetworkState, noise: Array | None = None) -> Array:
        """Return the field h that begins at a state, shape (R,)."""
        step = _copies(state).step
        if self._known is None or self._known[0] is not state.weights or self._known[1] != step:
            self._known = state.weights, step, self._strength(state, step, noise)
        return self._known[2]

    def at_waiting(self, state: NetworkState, noise: Array) -> dict[str, Array]:
        """Return the field that begins here, where D is this."""
        return {"response_field": self.strength(state, noise)}

    def advance(
        self, take: Advance, state: NetworkState, first: int, last: int, streams: Sequence[Any]
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1 in place, of the copies, too; return what diverged.

        Raises
        ------
        Diverged
            If a copy does, and no replica.
        """
        copies = _copies(state)
        for start, stop in self.windows.segments(first, last):
            copies.step = start
            self.windows.settle(copies.pairs, start, lambda: self._pair(state))
            lost = [
                bad
                for t, pair in copies.pairs.items()
                for bad in self._both(take, pair, t, start, stop, streams)
                if bad is not None
            ]
            bad = take(state, start, stop, streams)
            if bad is not None:
                return bad
            if lost:
                self._diverged(*min(lost), copies)
            copies.step = stop
        return None

    def _pair(self, state: NetworkState) -> Pair:
        alone = replace(state, response=None)
        return Pair(alone.copy(), alone.copy(), self.strength(state).copy())

    def _both(
        self, take: Advance, pair: Pair, waiting: int, start: int, stop: int, streams: Sequence[Any]
    ) -> list[tuple[int, int] | None]:
        """Let both copies take steps on the batches that the state is about to see."""
        push = self._field(waiting, pair)
        found = []
        for one, force in ((pair.plus, push), (pair.minus, -push)):
            # Batches that depend on those before are drawn twice more: from the same numbers.
            found.append(take(one, start, stop, deepcopy(list(streams)), force))
        return found

    def _field(self, waiting: int, pair: Pair) -> Tensor:
        """Return h σ, shape (R, M)."""
        weights = pair.plus.weights
        sigma = torch.from_numpy(signs(self.ensemble, waiting, weights.shape[1]))
        return sigma.to(weights).mul_(torch.from_numpy(pair.strength).to(weights)[:, None])

    def _diverged(self, step: int, position: int, copies: Copies) -> None:
        largest = max(pair.strength[position] for pair in copies.pairs.values())
        raise Diverged(
            f"the loss of replica {self.ensemble.replica[position]} in the field of its response is not a "
            f"finite number at step {step}; try a smaller record.field (now {largest:.3g})"
        )

    def compare(self, state: NetworkState, lag: float) -> dict[str, Array]:
        """Return the response over a lag and how nonlinear it is, shape (R,) each."""
        copies = _copies(state)
        waiting = copies.step - round(lag)
        pair = copies.pairs[waiting]
        sigma = torch.from_numpy(signs(self.ensemble, waiting, state.weights.shape[1]))
        sums = _sums(pair, state.weights, sigma)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "integrated_response": sums[0] / (2 * pair.strength * state.weights.shape[1]),
                "response_nonlinearity": np.abs(sums[1] / sums[0]),
            }


def _copies(state: NetworkState) -> Copies:
    assert isinstance(state.response, Copies)
    return state.response


def _sums(pair: Pair, middle: Tensor, sigma: Tensor) -> Array:
    """Return Σ σ (w⁺ − w⁻) and Σ σ (w⁺ + w⁻ − 2w) of each replica, shape (2, R)."""
    parts = pair.plus.weights, pair.minus.weights, middle, sigma
    if middle.numel() <= HELD:
        return _odd_and_even(*parts)
    total = np.zeros((2, len(middle)))
    for row, one in enumerate(zip(*parts, strict=True)):
        for some in zip(*(torch.split(x, HELD) for x in one), strict=True):
            total[:, row] += _odd_and_even(*some)
    return total


def _odd_and_even(plus: Tensor, minus: Tensor, middle: Tensor, sigma: Tensor) -> Array:
    """Return the sums of `_sums` over the last axis, in double precision."""
    p, m, w, s = (part.to(plus.device).double() for part in (plus, minus, middle, sigma))
    odd, even = p - m, p + m - 2 * w
    return torch.stack([dots(a, b) for a, b in ((s, odd), (s, even))]).cpu().numpy()
