r"""The clock of the solution: all that is computed is a function of t̂, and t̂ of t is part of what is solved for.

The memory integrals keep their form under t → t̂(t), with R dt' in place of R. In t̂, R̂ = R dt'/dt̂', and
ν = dt̂/dt,

    ν ∂_t̂ C = −μ C + below + between + …,    ν ∂_t̂ R̂ = −μ R̂ + between,    R̂(t̂, t̂) = 1/ν :

the clock stands before ∂_t̂ alone, and in the boundary value. So t̂ may be chosen. Early it is t. For late t
and t' the integrals do not hold the clock (`longtime`): what their rounding and truncation make of it is
rough on the scale of a slab, and kinks of C at the ends of slabs, read back by the integrals, grow. In a t̂
in which C is smooth they are not in C but in ν, which no integral reads. That t̂ is

    d ln(t̂ + τ₀)/d ln(t + τ₀) = α = 1 + ψ(η (Y − 1)),    Y = ∂_λ C(t, t/2) at fixed t', in units of its value
                                                             at t = `FROM`,

η growing like t² from next to nothing, smoothly, and ψ(z) = z/√(1 + (z/`MOST`)²). For large η it says that
C(t̂, ·) moves by the same amount in each step of λ. Aging solutions do that by themselves, but for what decays
like a power of t: α stays near 1. Where a solution does not age, ψ lets go.

θ = ln(t + τ₀) − ln(t̂ + τ₀) follows from dθ/dλ = 1/α − 1, by the slab's polynomial, and ν = α e^{−θ}.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from langevin.core.system import Array

from .collocation import DEGREE, KNOWN, NODES, PANEL, barycentric, weigh
from .panels import SCALE, SlabGrid, place

#: From which t on the clock is chosen, if C(t, t/2) moves by `LEAST` there in a unit of λ.
FROM, LEAST = 1e6, 0.02
#: Slabs from whose ends the target is extrapolated.
PAST = 10
#: η at `FROM`, its power of t, and its largest value.
WEAKEST, POWER, STIFFEST = 1e-2, 1.0, 1e8
#: Limit of |α − 1|.
MOST = 0.3
#: When the clock is chosen: rates of a target, and the largest slope of what it follows, in units of it.
RATES, STEADY = (0.1, 1.5), 0.1


class Pace(NamedTuple):
    """ν at a slab's stages, from α, and derivatives for Newton's method.

    Attributes
    ----------
    nu : ndarray, shape (S,)
    off : ndarray, shape (S,)
        By how much ν is off what the gauge asks for, to first order.
    by_c : ndarray, shape (S, S, NODES)
        ∂ν_i/∂C of stage s at the nodes of the panel in which t' = t/2 lies.
    """

    nu: Array
    off: Array
    by_c: Array


class Target(NamedTuple):
    """What ∂_λ C(t, t/2) is held to; limit = 0: t itself is the clock.

    limit + first·e^{−rate (λ − since)} + second·e^{−2 rate (λ − since)}: as powers of t that correct it decay.
    """

    limit: float = 0.0
    first: float = 0.0
    second: float = 0.0
    rate: float = 0.0
    since: float = 0.0

    def at(self, clock: Array) -> Array:
        """Return it at λ."""
        decay = np.exp(-self.rate * (clock - self.since))
        return np.asarray(self.limit + decay * (self.first + decay * self.second))


def target_of(clock: Array, motions: Array) -> Target:
    """Return the target that goes on from ∂_λ C(t, t/2) at some λ, shape (M,) both."""
    back = clock - clock[-1]

    def fit(rate: float) -> tuple[float, Array]:
        columns = np.exp(-rate * np.outer(back, np.arange(3)))
        parts, *_ = np.linalg.lstsq(columns, motions, rcond=None)
        return float(np.sum((columns @ parts - motions) ** 2)), parts

    rate = float(min(np.arange(*RATES, 0.005), key=lambda rate: fit(rate)[0]))
    limit, first, second = (float(x) for x in fit(rate)[1])
    if abs(limit) < LEAST or abs(motions[-1] / limit - 1) > STEADY:
        return Target()
    # Without a jump where it begins.
    return Target(float(motions[-1]) - first - second, first, second, rate, float(clock[-1]))


class Gauge:
    """The clock of one slab.

    Parameters
    ----------
    grid : SlabGrid
        Of the stages.
    derivative : ndarray, shape (S, LEVELS)
        ∂_λ at the stages.
    theta : ndarray, shape (KNOWN,)
        θ of the known levels.
    target : Target
    """

    def __init__(self, grid: SlabGrid, derivative: Array, theta: Array, target: Target) -> None:
        self.derivative, self.target = derivative, target.at(np.log1p(grid.t / SCALE))
        self.first, self._value = _half(grid)
        ramp = WEAKEST * (grid.t / FROM) ** POWER
        self._eta = 1 / (1 / ramp + 1 / STIFFEST)
        self._along = _along(grid, self.first, self._value)
        self._inverse = np.linalg.inv(derivative[:, KNOWN:])
        self.alpha = np.ones(len(grid.t))
        self._known = self._inverse @ (derivative[:, :KNOWN] @ theta)

    @property
    def theta(self) -> Array:
        """θ at the stages."""
        return np.asarray(self._inverse @ (1 / self.alpha - 1) - self._known)

    def pace(self, values: Array) -> Pace:
        """Return the pace of the values of a slab, shape (LEVELS, 2, nodes)."""
        alpha, theta = self.alpha, self.theta
        nu = alpha * np.exp(-theta)
        by_alpha = np.diag(np.exp(-theta)) + nu[:, None] * self._inverse / alpha**2
        by_c = self.derivative[:, KNOWN:, None] * self._value
        by_c[np.arange(len(nu)), np.arange(len(nu))] += self._along
        by_c *= (self._slope(alpha) * self._eta / self.target)[:, None, None]
        off = by_alpha @ (self._asked(values) - alpha)
        return Pace(nu, off, np.tensordot(by_alpha, by_c, axes=1))

    def follow(self, values: Array) -> None:
        """Set α to what values ask for."""
        self.alpha = self._asked(values)

    def _asked(self, values: Array) -> Array:
        """Return the α that values ask for, ψ taken as linear about the present one."""
        before = self.alpha
        c = values[:, 0, self.first : self.first + NODES]
        relative = _motion(c, self.derivative, self._value, self._along) / self.target
        part = (before - 1) / MOST
        z = (before - 1) / np.sqrt(1 - part**2)
        alpha = before + self._slope(before) * (self._eta * (relative - 1) - z)
        return np.asarray(np.clip(alpha, 1 - 0.99 * MOST, 1 + 0.99 * MOST))

    @staticmethod
    def _slope(alpha: Array) -> Array:
        """Return ψ' where 1 + ψ is α."""
        return np.asarray((1 - ((alpha - 1) / MOST) ** 2) ** 1.5)


def motion(values: Array, grid: SlabGrid, derivative: Array) -> Array:
    """Return ∂_λ C(t, t/2) at fixed t', at the stages of a slab, shape (S,)."""
    first, value = _half(grid)
    c = values[:, 0, first : first + NODES]
    return _motion(c, derivative, value, _along(grid, first, value))


def _half(grid: SlabGrid) -> tuple[int, Array]:
    """Return the first node of the panel in which t' = t/2 lies, and weights of its nodes there."""
    panel, x = place(1.0, 1.0, grid.zones)
    value = np.empty(NODES)
    weigh(x, PANEL.points, PANEL.weights, value)
    return panel * DEGREE, value


def _along(grid: SlabGrid, first: int, value: Array) -> Array:
    """Return weights of a stage's nodes in the part of ∂_λ C(t, t/2) across lines, shape (S, NODES)."""
    speed = grid.speed[:, first : first + NODES] * (grid.t + SCALE)[:, None]
    return np.asarray((speed * value) @ PANEL.derivative)


def _motion(c: Array, derivative: Array, value: Array, along: Array) -> Array:
    return np.asarray(derivative @ (c @ value) + np.sum(along * c[KNOWN:], axis=1))
