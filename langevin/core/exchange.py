r"""Replica exchange: copies of a replica at several temperatures exchange their configurations.

Every replica of a run is a *ladder* of K copies at T_0 < T_1 < … < T_{K−1}, each with noise of its own.
All leave from the start of the replica. Between swaps each copy takes Langevin steps at its own temperature.
After every `every` steps neighbours j, j + 1 are offered a swap of configurations, odd j and even j in turn
(a ladder of two has one pair, and no turns), which is accepted with probability

    A = min(1, e^{(β_j − β_{j+1})(E_j − E_{j+1})}).

*Why.* The law of independent copies is Π_k e^{−β_k E(x_k)}/Z_k. A swap changes it by the factor
e^{−β_j E' − β_{j+1} E + β_j E + β_{j+1} E'} = e^{(β_j − β_{j+1})(E − E')}, E = E(x_j), E' = E(x_{j+1}). The
proposal is symmetric, and A is Metropolis' choice: swaps are in detailed balance, and leave the law alone.
E is extensive (`Model.total_energy`), whatever energies a file holds.

*Swaps of oscillators.* For n degrees of freedom the energy at β has the law Γ(n/2, 1/β), and a swap is
accepted on average with probability

    ⟨A⟩ = 2 P(E_j > E_{j+1}) = 2 I_{β_{j+1}/(β_j + β_{j+1})}(n/2, n/2),

I the regularised incomplete beta function: with p(E, E') the joint law before, A p(E, E') = min(p(E, E'),
p(E', E)), and p(E', E) < p(E, E') where E < E', so that the integral of the minimum is twice that of p over
E > E'. Of two Γ variables of one shape, G_j/β_j > G_{j+1}/β_{j+1} means that the beta variable
G_{j+1}/(G_j + G_{j+1}) lies below β_{j+1}/(β_j + β_{j+1}).

What is measured, compared and stored as the configuration of a replica is the copy at T_0. A *walker* is a
configuration on its way through the temperatures. A round trip leads it from T_0 to T_{K−1} and back.

Swendsen and Wang, Phys. Rev. Lett. 57, 2607 (1986); Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .capabilities import HasCoordinates, HasFurtherDimensions
from .dynamics import Langevin, LangevinState
from .noise import Noise
from .protocol import Leg
from .schedule import Schedule
from .system import Array, Attributes, Coordinates, Dimensions, Model

#: Temperatures that a ladder may have.
MOST_LEVELS = 1000

#: What the names of saved arrays of a copy above the coldest begin with.
_LEVEL = "level_"
#: The arrays of a ladder itself, as a saved state has them.
_OWN = ("walker", "heading", "trips", "tried", "accepted")


@dataclass(frozen=True)
class Ladder:
    """What a run file says of replica exchange.

    Attributes
    ----------
    hotter : tuple of float
        The temperatures above that of the run, ascending.
    every : int
        Steps between two offers of swaps.
    """

    hotter: tuple[float, ...]
    every: int = 10

    @classmethod
    def parse(cls, given: Any) -> Ladder:
        """Read ``{ hotter = [...], every = 10 }``.

        Raises
        ------
        ValueError
            With a message for the user.
        """
        if isinstance(given, Ladder):
            return given
        if not isinstance(given, Mapping):
            raise ValueError("allowed: a table { hotter = [0.6, 0.7], every = 10 }")
        if unknown := [name for name in given if name not in ("hotter", "every")]:
            raise ValueError(f"unknown key {unknown[0]!r}; allowed: hotter, every")
        hotter, every = given.get("hotter"), given.get("every", 10)
        if type(every) is not int or every < 1:
            raise ValueError(f"every = {every!r}: must be an integer ≥ 1, steps between offers of swaps")
        return cls(tuple(_ascending(hotter)), every)


def _ascending(hotter: Any) -> Iterator[float]:
    allowed = f"hotter must be a list of 1 to {MOST_LEVELS - 1} finite temperatures > 0, ascending"
    if not isinstance(hotter, Sequence) or isinstance(hotter, str) or not 0 < len(hotter) < MOST_LEVELS:
        raise ValueError(allowed)
    before = 0.0
    for value in hotter:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if not plain or not before < value < math.inf:
            raise ValueError(allowed)
        before = float(value)
        yield before


class _OfLevel(Noise):
    """The noise of one level of all ladders: streams of its own, which are saved with those of the run."""

    def __init__(self, noise: Noise, level: int) -> None:
        self._noise, self._level, self._replica = noise, level, noise.labels

    def streams(self, role: str = "thermal") -> list[np.random.Generator]:
        """Return the generators of `role` at this level, one per replica; the coldest has those of a run."""
        return self._noise.streams(f"{role} at level {self._level}" if self._level else role)


@dataclass(frozen=True)
class LadderState(LangevinState):
    """The copies at T_0, as a `LangevinState`, and all the rest.

    Attributes
    ----------
    above : tuple of LangevinState
        Those at T_1 … T_{K−1}.
    walker : ndarray of int, shape (R, K)
        Which walker each level has.
    heading : ndarray of int, shape (R, K)
        Of each walker: 1 once it was at T_0, −1 once it was at T_{K−1} after that, 0 before either.
    trips : ndarray of int, shape (R, K)
        Round trips of each walker.
    tried, accepted : ndarray of int, shape (R, K − 1)
        Swaps of neighbours that were offered, and made.
    """

    above: tuple[LangevinState, ...] = ()
    walker: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    heading: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    trips: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    tried: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    accepted: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    @property
    def levels(self) -> list[LangevinState]:
        """The copies of every temperature, the coldest first."""
        own = LangevinState(self.x, self.ceiling, carried=self.carried)
        return [own, *self.above]

    def at(self, levels: Sequence[LangevinState]) -> LadderState:
        """Return the state with other copies."""
        first, *above = levels
        return replace(self, x=first.x, carried=first.carried, above=tuple(above))


def log_acceptance(cold: Array, hot: Array, beta_cold: float, beta_hot: float) -> Array:
    """Return (β_j − β_{j+1})(E_j − E_{j+1}): a swap is accepted with probability min(1, e^this).

    Parameters
    ----------
    cold, hot : ndarray, shape (R,)
        Extensive energies of the copy at the lower and at the higher temperature.
    beta_cold, beta_hot : float
        Inverse temperatures.
    """
    return (beta_cold - beta_hot) * (cold - hot)


class ReplicaExchange(Langevin, HasFurtherDimensions, HasCoordinates):
    """Langevin dynamics of a model at several temperatures, whose copies exchange configurations.

    Parameters
    ----------
    model : Model
    temperature : float
        T_0 > 0, of the copy that is measured.
    dt : float
    ladder : Ladder
        The temperatures above T_0, and how often swaps are offered.
    """

    def __init__(self, model: Model, temperature: float, dt: float, ladder: Ladder) -> None:
        super().__init__(model, temperature, dt)
        self.temperatures = np.array([temperature, *ladder.hotter])
        self.every = ladder.every
        self._highest, self._varies = float(self.temperatures[-1]), True

    def _at_rest(self, x: Array, held: Array | None) -> LadderState:
        start = super()._at_rest(x, held)
        replicas, levels = len(x), len(self.temperatures)
        walker = np.tile(np.arange(levels), (replicas, 1))
        heading = np.zeros_like(walker)
        heading[:, 0] = 1
        none = np.zeros((replicas, levels - 1), np.int64)
        further = replace(start, carried=self._carried(x))
        return LadderState(
            x, start.ceiling, carried=start.carried, above=(further,) * (levels - 1), walker=walker,
            heading=heading, trips=np.zeros_like(walker), tried=none, accepted=none,
        )  # fmt: skip

    def advance(self, state: LangevinState, t0: float, t1: float, noise: Noise) -> LadderState:
        """Take the steps from t0 to t1 at every level, with the offers of swaps that lie between."""
        assert isinstance(state, LadderState)
        step, last = round(t0 / self.dt), round(t1 / self.dt)
        while step < last:
            end = min(last, (step // self.every + 1) * self.every)
            state, energies = self._steps(state, step, end, noise)
            if end % self.every == 0:
                state = self._swapped(state, energies, end // self.every, noise)
            step = end
        return state

    def _steps(self, state: LadderState, first: int, last: int, noise: Noise) -> tuple[LadderState, Array]:
        """Return the state after steps at every level, and the extensive energies, shape (R, K)."""
        moved, energies = [], []
        with np.errstate(over="ignore", invalid="ignore"):
            for k, (level, temperature) in enumerate(zip(state.levels, self.temperatures, strict=True)):
                leg = Leg(first, last, float(temperature))
                moved.append(self._along(level, leg, _OfLevel(noise, k)))
                self._check(moved[-1].x, state.ceiling, first * self.dt, last * self.dt)
                # Asked here, where a model that remembers its last configuration knows it.
                energies.append(self.model.total_energy(moved[-1].x))
        return state.at(moved), np.stack(energies, axis=1)

    def _swapped(self, state: LadderState, energies: Array, offer: int, noise: Noise) -> LadderState:
        """Return the state after offer number 1, 2, … of swaps."""
        levels, energies = state.levels, energies.copy()
        pairs = range(offer % 2 if len(levels) > 2 else 0, len(levels) - 1, 2)
        # Drawn for all pairs, so that how many a stream has given follows from the number of offers.
        drawn = np.array([g.random(len(levels) - 1) for g in noise.streams("exchange")])
        tried, accepted, walker = state.tried.copy(), state.accepted.copy(), state.walker.copy()
        beta = 1 / self.temperatures
        for j in pairs:
            gain = log_acceptance(energies[:, j], energies[:, j + 1], float(beta[j]), float(beta[j + 1]))
            rows = np.flatnonzero(np.log1p(-drawn[:, j]) < gain)
            tried[:, j] += 1
            accepted[rows, j] += 1
            levels[j], levels[j + 1] = _exchanged(levels[j], levels[j + 1], rows)
            walker[rows, j], walker[rows, j + 1] = walker[rows, j + 1], walker[rows, j]
        state = replace(state.at(levels), tried=tried, accepted=accepted, walker=walker)
        return _arrived(state)

    def measure(self, state: LangevinState) -> dict[str, Array]:
        """Return what is measured at T_0, the energies of all levels, and how walkers and swaps fare."""
        assert isinstance(state, LadderState)
        order = np.argsort(state.walker, axis=1)
        tried = np.where(state.tried > 0, state.tried, 1)
        return {
            **super().measure(state),
            "level_energy": np.stack([self.model.energy(level.x) for level in state.levels], axis=1),
            "swap_rate": np.where(state.tried > 0, state.accepted / tried, np.nan),
            "walker_temperature": self.temperatures[order],
            "round_trips": state.trips.sum(axis=1).astype(float),
        }

    def dimensions(self) -> Dimensions:
        """Return the further dimensions of what is measured, those of the model included."""
        own = {"level_energy": ("level",), "swap_rate": ("neighbours",), "walker_temperature": ("walker",)}
        model = self.model
        return {**(model.dimensions() if isinstance(model, HasFurtherDimensions) else {}), **own}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return temperatures of levels, the lower ones of pairs of neighbours, and numbers of walkers."""
        about = {"long_name": "temperature of the level", "units": "1"}
        lower = {"long_name": "lower temperature of the two levels", "units": "1"}
        numbers = {"long_name": "number of the walker", "units": "1"}
        model, levels = self.model, self.temperatures
        return {
            **(model.coordinates(schedule) if isinstance(model, HasCoordinates) else {}),
            "level": ("level", levels, about),
            "neighbours": ("neighbours", levels[:-1], lower),
            "walker": ("walker", np.arange(len(levels)), numbers),
        }

    def attributes(self) -> Attributes:
        """Return the attributes of Langevin dynamics, and of what ladders measure."""
        gradients = {"gradients_per_step": len(self.temperatures)}
        known = super().attributes()
        return {
            **known,
            "energy": {**known["energy"], **gradients},
            "level_energy": {"long_name": "energy at every temperature of the ladder", "units": "1"},
            "swap_rate": {"long_name": "share of the swaps offered so far that were made", "units": "1"},
            "walker_temperature": {"long_name": "temperature at which a walker is", "units": "1"},
            "round_trips": {"long_name": "round trips of all walkers through the temperatures", "units": "1"},
        }

    def state_dict(self, state: LangevinState) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state."""
        assert isinstance(state, LadderState)
        saved = super().state_dict(state) | {name: getattr(state, name) for name in _OWN}
        for k, level in enumerate(state.above, 1):
            saved |= {f"{_LEVEL}{k}_{name}": array for name, array in super().state_dict(level).items()}
        return saved

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> LadderState:
        """Return the state that `state_dict` saved."""
        above = []
        for k in range(1, len(self.temperatures)):
            prefix = f"{_LEVEL}{k}_"
            own = {n.removeprefix(prefix): array for n, array in saved.items() if n.startswith(prefix)}
            above.append(super().load_state(own))
        first = super().load_state(saved)
        walker, heading, trips, tried, accepted = (np.asarray(saved[name]) for name in _OWN)
        return LadderState(
            first.x, first.ceiling, carried=first.carried, above=tuple(above), walker=walker,
            heading=heading, trips=trips, tried=tried, accepted=accepted,
        )  # fmt: skip


def _exchanged(
    a: LangevinState, b: LangevinState, rows: NDArray[np.intp]
) -> tuple[LangevinState, LangevinState]:
    """Return two levels whose replicas at `rows` have exchanged configurations, and what belongs to them."""
    if not rows.size:
        return a, b
    pairs = {"": (a.x, b.x), **{name: (a.carried[name], b.carried[name]) for name in a.carried}}
    first, second = {}, {}
    for name, (own, other) in pairs.items():
        first[name], second[name] = own.copy(), other.copy()
        first[name][rows], second[name][rows] = other[rows], own[rows]
    return replace(a, x=first.pop(""), carried=first), replace(b, x=second.pop(""), carried=second)


def _arrived(state: LadderState) -> LadderState:
    """Return the state with the round trips that ended where walkers are now."""
    heading, trips = state.heading.copy(), state.trips.copy()
    rows = np.arange(len(heading))
    cold, hot = state.walker[:, 0], state.walker[:, -1]
    trips[rows, cold] += heading[rows, cold] == -1
    heading[rows, cold] = 1
    heading[rows, hot] = -np.abs(heading[rows, hot])
    return replace(state, heading=heading, trips=trips)
