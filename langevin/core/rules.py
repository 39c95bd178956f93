r"""Rules of descent: momentum and Adam drive any model at T = 0, with its constraint.

With f the force of the extensive energy, dt the step, and g = (constrain(x + dt f) − x)/dt, the force that
the constraint leaves (f itself where there is none),

    gradient    x ← constrain( x + dt f )                                       (`langevin.core.dynamics`)
    momentum    v ← μ v + g,    x' = constrain( x + dt v ),    v ← (x' − x)/dt
    adam        m ← β₁ m + (1 − β₁) g,    s ← β₂ s + (1 − β₂) g²,    n ← n + 1,
                x ← constrain( x + dt m̂/(√ŝ + ε) ),    m̂ = m/(1 − β₁ⁿ),    ŝ = s/(1 − β₂ⁿ)

The velocity is that with which x moved: x' = constrain( x + μ (x − x⁻) + dt g ), Polyak's heavy ball, which
is underdamped dynamics x″ = f − γ x′ with a time step h = √dt and 1 − μ = γ h. Without the projection of f,
its part along the constraint's normal would pile up in v: on a sphere x' would be scaled down by 1 + dt v_n.
At μ = 0 it is gradient descent to rounding: constrain twice is constrain.

The largest stable step of an oscillator of stiffness k is 2(1 + μ)/k. In a slow landscape momentum runs the
clock of gradient descent 1/(1 − μ) times as fast. Adam's step is of size dt in every coordinate, whatever the
force.

Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964); Kingma and Ba, arXiv:1412.6980.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .capabilities import HasConstraint
from .dynamics import Langevin, LangevinState
from .noise import Noise
from .system import Array, Model

Slots = dict[str, Array]

#: What the names of saved slots begin with.
_SLOT = "slot_"


class Rule(ABC):
    """How a configuration moves, given forces."""

    @abstractmethod
    def start(self, x: Array) -> Slots:
        """Return what it remembers of earlier steps before the first, for x of shape (R, dof)."""

    @abstractmethod
    def velocity(self, force: Array, slots: Slots) -> Array:
        """Return by what times dt the step moves x, shape (R, dof); slots are replaced in the mapping."""

    def moved(self, velocity: Array, slots: Slots) -> None:  # noqa: B027
        """Learn with which velocity the step moved x after the constraint; by default nothing follows."""


@dataclass(frozen=True)
class Momentum(Rule):
    """Heavy ball: a step keeps the part μ of the last one."""

    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what is no such part."""
        if not 0 <= _number(self.momentum) < 1:
            raise ValueError(f"momentum = {self.momentum!r}: must be a number ≥ 0, < 1")

    def start(self, x: Array) -> Slots:
        """Return a velocity of 0."""
        return {"velocity": np.zeros_like(x)}

    def velocity(self, force: Array, slots: Slots) -> Array:
        """Return μ v + g."""
        return self.momentum * slots["velocity"] + force

    def moved(self, velocity: Array, slots: Slots) -> None:
        """Keep the velocity with which x moved."""
        slots["velocity"] = velocity


@dataclass(frozen=True)
class Adam(Rule):
    """Adam: the mean force over the root of its mean square, of each coordinate by itself."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse what are no such parts."""
        pair = self.betas if isinstance(self.betas, list | tuple) else ()
        if len(pair) != 2 or not all(0 <= _number(beta) < 1 for beta in pair):
            raise ValueError(f"betas = {self.betas!r}: must be two numbers ≥ 0, < 1")
        if not 0 < _number(self.epsilon) < math.inf:
            raise ValueError(f"epsilon = {self.epsilon!r}: must be a finite number > 0")

    def start(self, x: Array) -> Slots:
        """Return moments of 0, and no steps."""
        zeros = np.zeros_like(x)
        return {"first_moment": zeros, "second_moment": zeros, "steps": np.zeros((len(x), 1))}

    def velocity(self, force: Array, slots: Slots) -> Array:
        """Return m̂/(√ŝ + ε)."""
        kept, kept_square = self.betas
        slots["steps"] = slots["steps"] + 1
        slots["first_moment"] = kept * slots["first_moment"] + (1 - kept) * force
        slots["second_moment"] = kept_square * slots["second_moment"] + (1 - kept_square) * force**2
        first = slots["first_moment"] / (1 - kept ** slots["steps"])
        root = np.sqrt(slots["second_moment"] / (1 - kept_square ** slots["steps"]))
        return first / (root + self.epsilon)


#: What `rule` may name; "gradient" is Langevin dynamics itself.
RULES: dict[str, type[Rule]] = {"momentum": Momentum, "adam": Adam}
#: The keys of each.
_KEYS: dict[str, tuple[str, ...]] = {"gradient": (), "momentum": ("momentum",), "adam": ("betas", "epsilon")}


def _number(given: Any) -> float:
    """Return a number; what is none, as one that no limit allows."""
    plain = isinstance(given, int | float) and not isinstance(given, bool)
    return float(given) if plain else math.nan


def parse(given: Any) -> Rule | None:
    """Read a name, or ``{ name = "momentum", momentum = 0.9 }``. None: "gradient".

    Raises
    ------
    ValueError
        With a message for the user.
    """
    if given is None or isinstance(given, Rule):
        return given
    table = {"name": given} if isinstance(given, str) else given
    names = ", ".join(f'"{name}"' for name in _KEYS)
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str) or table["name"] not in _KEYS:
        raise ValueError(f'allowed: {names}, or a table {{ name = "momentum", momentum = 0.9 }}')
    name, keys = table["name"], {key: value for key, value in table.items() if key != "name"}
    if unknown := [key for key in keys if key not in _KEYS[name]]:
        raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(('name', *_KEYS[name]))}")
    return RULES[name](**keys) if name in RULES else None


@dataclass(frozen=True)
class RuledState(LangevinState):
    """A configuration, and what the rule remembers: arrays whose rows are the replicas."""

    slots: Mapping[str, Array] = field(default_factory=dict)


class RuledDescent(Langevin):
    """Descent of a model's energy at T = 0 by another rule than gradient descent.

    Parameters
    ----------
    model : Model
    dt : float
        Time step of gradient descent, that each rule multiplies its velocity by.
    rule : Rule
    """

    def __init__(self, model: Model, dt: float, rule: Rule) -> None:
        super().__init__(model, 0.0, dt)
        self.rule = rule

    def _at_rest(self, x: Array, held: Array | None) -> RuledState:
        start = super()._at_rest(x, None)
        return RuledState(x, start.ceiling, slots=self.rule.start(x))

    def advance(self, state: LangevinState, t0: float, t1: float, noise: Noise) -> RuledState:
        """Take the steps from t0 to t1."""
        assert isinstance(state, RuledState)
        x, slots = state.x, dict(state.slots)
        with np.errstate(over="ignore", invalid="ignore"):
            for n in range(round(t0 / self.dt), round(t1 / self.dt)):
                x = self._moved(x, n * self.dt, slots, noise)
            self._check(x, state.ceiling, t0, t1)
        return replace(state, x=x, slots=slots)

    def _moved(self, x: Array, t: float, slots: Slots, noise: Noise) -> Array:
        force = self.model.force(x, t, noise)
        if not isinstance(self.model, HasConstraint):
            velocity = self.rule.velocity(force, slots)
            self.rule.moved(velocity, slots)
            return x + self.dt * velocity
        allowed = (self.model.constrain(x + self.dt * force) - x) / self.dt
        after = self.model.constrain(x + self.dt * self.rule.velocity(allowed, slots))
        self.rule.moved((after - x) / self.dt, slots)
        return after

    def state_dict(self, state: LangevinState) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state."""
        assert isinstance(state, RuledState)
        return super().state_dict(state) | {_SLOT + name: array for name, array in state.slots.items()}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> RuledState:
        """Return the state that `state_dict` saved."""
        slots = {n.removeprefix(_SLOT): np.asarray(a) for n, a in saved.items() if n.startswith(_SLOT)}
        return RuledState(saved["x"], saved["ceiling"], slots=slots)
