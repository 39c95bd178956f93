r"""Attraction of replicas to their centre: replicated descent.

Replicas of a quenched sample are dealt into groups of y. After every `every` steps each of them moves the
part κ of its way to the centre of its group,

    x_a ← constrain( x_a − κ (x_a − x̄) ),    x̄ = (1/y) Σ_a x_a,

at once. Without a constraint x̄ stays where it is, and distances to it shrink by 1 − κ. It is the gradient
step of the coupling (γ/2) Σ_a |x_a − x̄|² that Baldassi et al. add to the sum of the replicas' energies, with
κ = γ dt `every`: what descends has an energy that is low all around x̄. κ may follow a protocol, as a
temperature may: growing, it draws the replicas together in the end.

The force on the centre is the mean of the replicas' forces. Of an oscillator of stiffness k at T = 0, the
centre decays by (1 − k dt)^n as each replica alone would, and distances to it by (1 − κ)^{n/every} more.

Baldassi, Borgs, Chayes, Ingrosso, Lucibello, Saglietti and Zecchina, PNAS 113, E7655 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .capabilities import constrained
from .dynamics import Langevin, LangevinState
from .ensemble import Ensemble
from .noise import Noise
from .protocol import Protocol, Temperature
from .schemes import SchemeName
from .system import Array, Model


@dataclass(frozen=True)
class Attraction:
    """What a run file says of replicas that attract each other.

    Attributes
    ----------
    replicas : int
        How many share a centre, y.
    strength : float or Protocol
        The part κ of the way to the centre that one pull takes, or its course in time.
    every : int
        Steps between two pulls.
    """

    replicas: int
    strength: Temperature
    every: int = 1

    @classmethod
    def parse(cls, given: Any) -> Attraction:
        """Read ``{ replicas = 4, strength = 0.05, every = 1 }``.

        Raises
        ------
        ValueError
            With a message for the user.
        """
        if isinstance(given, Attraction):
            return given
        allowed = ("replicas", "strength", "every")
        if not isinstance(given, Mapping):
            raise ValueError("allowed: a table { replicas = 4, strength = 0.05, every = 1 }")
        if unknown := [name for name in given if name not in allowed]:
            raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(allowed)}")
        for name, least in (("replicas", 2), ("every", 1)):
            value = given.get(name, least)
            if type(value) is not int or value < least or name not in {*given, "every"}:
                raise ValueError(f"{name} = {given.get(name)!r}: must be an integer ≥ {least}")
        return cls(given["replicas"], _strength(given.get("strength")), given.get("every", 1))

    def at(self, t: float) -> float:
        """Return κ at a time."""
        return self.strength.at(t) if isinstance(self.strength, Protocol) else self.strength

    def groups(self, ensemble: Ensemble) -> list[NDArray[np.intp]]:
        """Return the positions of the replicas of every group, in the order of their labels."""
        labels = self.labels(ensemble.replica, ensemble.sample, len(np.unique(ensemble.whole.sample)))
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def labels(
        self, replica: NDArray[np.int64], sample: NDArray[np.int64], samples: int
    ) -> NDArray[np.int64]:
        """Return the group of every replica: y that follow each other in their sample are one."""
        return (replica // samples // self.replicas) * samples + sample


def _strength(given: Any) -> Temperature:
    plain = isinstance(given, int | float) and not isinstance(given, bool)
    if plain and 0 <= given <= 1:
        return float(given)
    if not isinstance(given, list | tuple | Mapping | Protocol):
        raise ValueError(f"strength = {given!r}: must be a number from 0 to 1, or a protocol of such numbers")
    course = Protocol.parse(given)
    if course.bounds(np.inf)[1] > 1:
        raise ValueError(f"strength = {course.bounds(np.inf)[1]:g} is reached: must be ≤ 1, all of the way")
    return course


def pulled(x: Any, groups: Sequence[NDArray[np.intp]], part: float) -> Any:
    """Return configurations, shape (R, dof), so much nearer to the centre of their group.

    It asks of x no more than indices, means and products: x may be an array of numpy or a tensor of torch.
    """
    moved = x * 1
    for rows in groups:
        own = x[rows]
        moved[rows] = own - part * (own - own.mean(0))
    return moved


class AttractedLangevin(Langevin):
    """Langevin dynamics of replicas that attract each other.

    Parameters
    ----------
    model, temperature, dt, scheme
        As of `Langevin`.
    attraction : Attraction
    ensemble : Ensemble
        Says which replicas share a centre.
    """

    def __init__(
        self,
        model: Model,
        temperature: Temperature,
        dt: float,
        attraction: Attraction,
        ensemble: Ensemble,
        scheme: SchemeName = "euler_maruyama",
    ) -> None:
        super().__init__(model, temperature, dt, scheme=scheme)
        self.attraction, self.groups = attraction, attraction.groups(ensemble)

    def advance(self, state: LangevinState, t0: float, t1: float, noise: Noise) -> LangevinState:
        """Take the steps from t0 to t1, with the pulls that lie between."""
        every, step, last = self.attraction.every, round(t0 / self.dt), round(t1 / self.dt)
        while step < last:
            end = min(last, (step // every + 1) * every)
            state = super().advance(state, step * self.dt, end * self.dt, noise)
            if end % every == 0:
                state = self._pulled(state, self.attraction.at(end * self.dt))
            step = end
        return state

    def _pulled(self, state: LangevinState, part: float) -> LangevinState:
        if not part:
            return state
        x: Array = constrained(self.model, pulled(state.x, self.groups, part))
        return replace(state, x=x, carried=self._carried(x))
