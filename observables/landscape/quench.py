r"""A quench leads downhill from a configuration to a minimum, its inherent structure.

All replicas go at once.

Both ways use gradients g alone, never differences of energies, which rounding swallows long before g is
small.

*descent* follows the gradient flow dx/ds = −g(x), so that every minimum is the one in whose basin x lies. The
step is that of Bogacki and Shampine, of third order with an embedded one of second; it is as long as the
difference of the two, over the length of the step, stays at `ACCURACY`. Where fast directions have come to
rest, it is as long as is stable: the number of gradients grows with the ratio of the largest curvature to the
smallest.

*lbfgs* is the limited-memory BFGS method, with `PAIRS` pairs of steps and changes of the gradient: far
faster, but a step may lead into the basin beside. Along a direction d, φ'(α) = g(x + αd)·d tells where a step
ends:

    0.8 |φ'(0)| ≥ φ'(α) ≥ −0.9 |φ'(0)|.

With φ a parabola the energy of the step changes by α(φ'(0) + φ'(α))/2, and the left inequality is Armijo's,
that it falls by a tenth of α|φ'(0)|: the approximate Wolfe conditions of Hager and Zhang. What is too long
or too short is halved or doubled between bounds (Lewis and Overton, whose search works at the kinks of ReLU,
too).

*A constraint* is a projection π onto the nearest allowed configuration, such as x → x √N/|x|. Its derivative
at an allowed x, by differences, is the projection P onto the tangent space; gradients, directions and steps
are P g, P d, and every step ends in π(x + αd).

A replica's numbers do not depend on those of others. One that has come to rest is computed no longer.

References
----------
P. Bogacki and L. F. Shampine, Appl. Math. Lett. 2, 321 (1989). J. Nocedal, Math. Comp. 35, 773 (1980).
W. W. Hager and H. Zhang, SIAM J. Optim. 16, 170 (2005). A. S. Lewis and M. L. Overton, Math. Program. 141,
135 (2013). F. H. Stillinger and T. A. Weber, Phys. Rev. A 25, 978 (1982): inherent structures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Positions: TypeAlias = NDArray[np.int64]
#: Of configurations of the replicas at some positions, (n, dof): energies, (n,), and gradients, (n, dof).
Slopes: TypeAlias = Callable[[Array, Positions], tuple[Array, Array]]
Method: TypeAlias = Literal["lbfgs", "descent"]

#: Error of a step of the flow, as a part of its length.
ACCURACY = 0.01
#: A step that is shorter than the usual ones by this factor is taken, whatever its error: across a jump of
#: the gradient, as at the cutoff of a potential, no step is short enough.
JUMP = 1e-4
#: Pairs that L-BFGS remembers.
PAIRS = 10
#: Length of the first step, as a part of the configuration's.
FIRST = 1e-3
#: Lengths of a step that are tried before the memory is forgotten; without any, the replica stays there.
TRIALS = 30
#: Step of the differences that project, as a part of the configuration's length.
_DIFFERENCE = 1e-5


class Quench(NamedTuple):
    """Where quenches have come to rest.

    Attributes
    ----------
    x : ndarray, shape (R, dof)
    energy : ndarray, shape (R,)
        As the slopes say it.
    gradient : ndarray, shape (R,)
        Root mean square of the components of the gradient, along the constraint.
    evaluations : ndarray of int, shape (R,)
        Gradients that it took.
    """

    x: Array
    energy: Array
    gradient: Array
    evaluations: NDArray[np.int64]


def quench(
    slopes: Slopes,
    x: Array,
    method: Method = "lbfgs",
    tolerance: float = 1e-6,
    most: int = 100_000,
    constrain: Callable[[Array], Array] | None = None,
) -> Quench:
    """Lead configurations to their inherent structures.

    Parameters
    ----------
    slopes : callable
        Returns energies and gradients of configurations of some replicas, given their positions.
    x : ndarray, shape (R, dof)
        Allowed configurations; not changed.
    method : {"lbfgs", "descent"}
    tolerance : float
        A replica is at rest when the root mean square of its gradient's components is no more.
    most : int
        Gradients of a replica at which it ends in any case, one step more or less.
    constrain : callable, optional
        Projects any configurations of all replicas, shape (R, dof), onto the nearest allowed ones.
    """
    # Steps that leave the numbers are refused, each by its replica.
    with np.errstate(all="ignore"):
        walk = _Walk(slopes, x, tolerance, most, constrain)
        if method == "descent":
            _descend(walk)
        else:
            _lbfgs(walk)
    return Quench(walk.x, walk.energy, walk.size(), walk.evaluations)


def _dot(a: Array, b: Array) -> Array:
    """Return the products of rows, each summed by itself, in the same order always."""
    return np.sum(a * b, axis=1)


def _norm(a: Array) -> Array:
    return np.sqrt(_dot(a, a))


class _Walk:
    """Where all replicas are, and what is known there."""

    def __init__(
        self,
        slopes: Slopes,
        x: Array,
        tolerance: float,
        most: int,
        constrain: Callable[[Array], Array] | None,
    ) -> None:
        self.slopes, self.constrain, self.tolerance, self.most = slopes, constrain, tolerance, most
        self.x = np.array(x, dtype=float)
        self.evaluations = np.zeros(len(x), dtype=np.int64)
        self.stuck = np.zeros(len(x), dtype=bool)
        self.energy, self.gradient = self.look(self.x, np.arange(len(x)))
        #: Length at which a first step is tried; a configuration at the origin has none of its own.
        length = _norm(self.x)
        self.first = FIRST * np.where(length > 0, length, 1.0)

    def size(self) -> Array:
        """Return the root mean square of the gradients' components, shape (R,)."""
        return _norm(self.gradient) / np.sqrt(self.x.shape[1])

    def moving(self) -> Positions:
        """Return the positions of the replicas that have not come to rest."""
        resting = (self.size() <= self.tolerance) | (self.evaluations >= self.most) | self.stuck
        return np.flatnonzero(~resting & np.isfinite(self.gradient).all(axis=1))

    def _filled(self, rows: Array, at: Positions) -> Array:
        whole = self.x.copy()
        whole[at] = rows
        return whole

    def allowed(self, rows: Array, at: Positions) -> Array:
        """Return the allowed configurations next to those of the replicas at some positions."""
        return rows if self.constrain is None else self.constrain(self._filled(rows, at))[at]

    def tangent(self, vectors: Array, rows: Array, at: Positions) -> Array:
        """Return vectors without what the constraint forbids at allowed configurations."""
        if self.constrain is None:
            return vectors
        lengths, sizes = _norm(rows), _norm(vectors)
        steps = _DIFFERENCE * np.where(lengths > 0, lengths, 1.0) / np.where(sizes > 0, sizes, 1.0)
        moves = steps[:, None] * vectors
        ahead, behind = self.allowed(rows + moves, at), self.allowed(rows - moves, at)
        return (ahead - behind) / (2 * steps[:, None])

    def look(self, rows: Array, at: Positions) -> tuple[Array, Array]:
        """Return energies and gradients along the constraint at allowed configurations."""
        self.evaluations[at] += 1
        energy, gradient = self.slopes(rows, at)
        return energy, self.tangent(gradient, rows, at)

    def go(self, rows: Array, energy: Array, gradient: Array, at: Positions) -> None:
        """Take replicas to configurations whose slopes are known."""
        self.x[at], self.energy[at], self.gradient[at] = rows, energy, gradient


# The gradient flow.


def _descend(walk: _Walk) -> None:
    """Follow the gradient flow by steps whose error is known."""
    sizes = _norm(walk.gradient)
    step, usual = walk.first / np.where(sizes > 0, sizes, 1.0), np.zeros(len(sizes))
    while (at := walk.moving()).size:
        h, x, k1 = step[at][:, None], walk.x[at], -walk.gradient[at]
        k2 = -walk.look(walk.allowed(x + h / 2 * k1, at), at)[1]
        k3 = -walk.look(walk.allowed(x + 3 * h / 4 * k2, at), at)[1]
        move = h * (2 * k1 + 3 * k2 + 4 * k3) / 9
        ahead = walk.allowed(x + move, at)
        energy, gradient = walk.look(ahead, at)
        error = _norm(h * (-5 * k1 / 72 + k2 / 12 + k3 / 9 + gradient / 8)) / _norm(move)
        # What is not a number is an error as large as any.
        error = np.where(np.isfinite(error), np.maximum(error, 1e-10), np.inf)
        jump = (h[:, 0] < JUMP * usual[at]) & np.isfinite(error)
        good = (error <= ACCURACY) | jump
        usual[at] = np.where(good, np.maximum(h[:, 0], 0.99 * usual[at]), usual[at])
        step[at] *= np.where(jump, 5.0, np.clip(0.9 * np.sqrt(ACCURACY / error), 0.2, 5.0))
        walk.go(ahead[good], energy[good], gradient[good], at[good])
        # Where no step is left that moves anything, rounding is all there is.
        walk.stuck[at] = ~good & (_norm(move) <= np.finfo(float).eps * _norm(x))


# L-BFGS.


class _Memory:
    """Pairs of steps s and changes y of the gradient, of each replica its own."""

    def __init__(self, replicas: int, dof: int) -> None:
        self.s, self.y = (np.zeros((PAIRS, replicas, dof)) for _ in range(2))
        self.count = np.zeros(replicas, dtype=np.int64)

    def forget(self, at: Positions) -> None:
        self.count[at] = 0

    def add(self, s: Array, y: Array, at: Positions) -> None:
        """Keep pairs along which the curvature is positive; others would leave no descent."""
        fit = _dot(s, y) > np.finfo(float).eps * _norm(s) * _norm(y)
        s, y, at = s[fit], y[fit], at[fit]
        slot = self.count[at] % PAIRS
        self.s[slot, at], self.y[slot, at] = s, y
        self.count[at] += 1

    def direction(self, gradient: Array, at: Positions) -> Array:
        """Return −H g, H the inverse Hessian that the pairs stand for: the two loops of Nocedal."""
        q, held = gradient.copy(), np.minimum(self.count[at], PAIRS)
        rows, kept = np.arange(len(at)), []
        for back in range(1, int(held.max(initial=0)) + 1):
            own = rows[held >= back]
            slot = (self.count[at[own]] - back) % PAIRS
            s, y = self.s[slot, at[own]], self.y[slot, at[own]]
            rho = 1 / _dot(s, y)
            a = rho * _dot(s, q[own])
            q[own] -= a[:, None] * y
            if back == 1:
                scale = np.ones(len(at))
                scale[own] = 1 / (rho * _dot(y, y))
            kept.append((own, s, y, rho, a))
        if kept:
            q *= scale[:, None]
        for own, s, y, rho, a in reversed(kept):
            b = rho * _dot(y, q[own])
            q[own] += (a - b)[:, None] * s
        return -q


def _lbfgs(walk: _Walk) -> None:
    """Go downhill along −H g, each replica at a trial of its own; all trials are computed together."""
    memory = _Memory(*walk.x.shape)
    search = _Search(len(walk.x), walk.x.shape[1])
    search.begin(walk, memory, walk.moving())
    while (at := walk.moving()).size:
        ahead = walk.allowed(walk.x[at] + search.alpha[at][:, None] * search.direction[at], at)
        energy, gradient = walk.look(ahead, at)
        done = search.judge(_dot(gradient, search.direction[at]), at)
        here, to = at[done], ahead[done]
        change = gradient[done] - walk.tangent(walk.gradient[here], to, here)
        memory.add(walk.tangent(to - walk.x[here], to, here), change, here)
        walk.go(to, energy[done], gradient[done], here)
        failed = at[search.trials[at] >= TRIALS]
        # The steepest way down has been tried, too.
        walk.stuck[failed] = memory.count[failed] == 0
        memory.forget(failed)
        search.begin(walk, memory, np.union1d(here, failed))


class _Search:
    """The trials along the direction of each replica."""

    def __init__(self, replicas: int, dof: int) -> None:
        self.direction = np.zeros((replicas, dof))
        self.slope, self.alpha, self.low = (np.zeros(replicas) for _ in range(3))
        self.high = np.full(replicas, np.inf)
        self.trials = np.zeros(replicas, dtype=np.int64)

    def begin(self, walk: _Walk, memory: _Memory, at: Positions) -> None:
        """Look for a step of these replicas along a new direction."""
        if not at.size:
            return
        g, size = walk.gradient[at], _norm(walk.gradient[at])
        d = walk.tangent(memory.direction(g, at), walk.x[at], at)
        steep = _dot(g, d) > -1e-8 * size * _norm(d)
        memory.forget(at[steep])
        plain = memory.count[at] == 0
        d[plain] = -g[plain]
        self.direction[at], self.slope[at] = d, _dot(g, d)
        first = walk.first[at] / np.where(size > 0, size, 1.0)
        self.alpha[at] = np.where(plain, first, 1.0)
        self.low[at], self.high[at], self.trials[at] = 0.0, np.inf, 0

    def judge(self, slope: Array, at: Positions) -> NDArray[np.bool_]:
        """Return which trials end here, given the slopes along the directions; others get another length."""
        before, alpha = -self.slope[at], self.alpha[at]
        long, short = ~(slope <= 0.8 * before), slope < -0.9 * before
        self.high[at] = np.where(long, alpha, self.high[at])
        self.low[at] = np.where(short, alpha, self.low[at])
        low, high = self.low[at], self.high[at]
        bounded = np.isfinite(high)
        # Where a parabola is lowest, if it lies well within the bounds.
        guess = np.where(np.isfinite(slope), alpha * before / (slope + before), 0.0)
        span = np.where(bounded, high - low, 0.0)
        inside = np.clip(guess, low + span / 10, high - span / 2)
        self.alpha[at] = np.where(bounded, inside, 2 * alpha)
        self.trials[at] += 1
        return ~(long | short)
