r"""A spherical perceptron is brought to jamming by lowering its margin, as spheres are decompressed.

At a margin σ above jamming the minimum has E > 0. Along the branch of minima dE/dσ = −Σ h θ(−h) (only σ
itself counts, for the gradient along x is 0), and near jamming E ∝ (σ − σ_J)²: σ_J ≈ σ − 2E/(dE/dσ). The
margin goes a part of the way there, the energy is minimised again from where it was, and so on. Where the
step was too long, and all patterns are satisfied, it is halved; where the branch itself ends so, in an
instability, the margin is raised from the satisfied configuration until it is not satisfied any more.

**The end is exact.** At jamming x is a local maximum of the margin: of σ under ξ_μ·x/√N ≥ σ for all μ and
|x|² = N. With the contacts C (equality holds), forces f_μ ≥ 0 and A the rows ξ_μ/√N of C, the conditions are

    A x = σ·1,        Aᵀf ∝ x,        f ≥ 0,        ξ_μ·x/√N > σ for all others.

Let a solve (A Aᵀ) a = 1. Then x = σ Aᵀa has A x = σ·1, |x|² = σ² Σa = N fixes σ² = N/Σa, and f ∝ a. So a set
of contacts yields jammed configuration, margin and forces to rounding, of one sign of σ or the other, and
whether all a > 0 and all other gaps > 0 tells whether it is the right set. For σ > 0 that is the whole truth
(the problem is convex: it is the maximal margin). For σ < 0 the sphere bends the other way, and a maximum
needs as many contacts as there are unknowns, N − 1 of x and σ: N (isostatic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langevin.core.system import Array

from .landscape import Point, followed, minimum

#: Part of the distance from the estimate of σ_J that is left after a step.
_LEFT = 0.2
#: Minimisations; about twenty are usual.
MOST_STEPS = 300
#: Halvings of a step before the branch counts as ended.
_HALVINGS = 12


@dataclass(frozen=True)
class Jammed:
    """A jammed configuration; attributes as the conditions of the module name them.

    Attributes
    ----------
    x : ndarray, shape (N,)
    margin : float
        σ_J of this configuration.
    gaps : ndarray, shape (P,)
        Of contacts 0 to rounding, of all others > 0.
    forces : ndarray, shape (P,)
        In units of their mean over the contacts; 0 where there is none.
    contacts : ndarray of bool, shape (P,)
    """

    x: Array
    margin: float
    gaps: Array
    forces: Array
    contacts: NDArray[np.bool_]


def certified(patterns: Array, contacts: NDArray[np.bool_], sign: float) -> Jammed | None:
    """Return the jammed configuration of a set of contacts; None if it is not the set of one.

    Parameters
    ----------
    patterns : ndarray, shape (P, N)
    contacts : ndarray of bool, shape (P,)
    sign : float
        That of the margin.
    """
    n, count = patterns.shape[1], int(contacts.sum())
    isostatic = count == n
    if not 0 < count <= n or (sign < 0 and not isostatic):
        return None
    rows = patterns[contacts] / math.sqrt(n)
    try:
        weights = np.linalg.solve(rows @ rows.T, np.ones(count))
    except np.linalg.LinAlgError:
        return None
    if weights.min() <= 0:
        return None
    margin = math.copysign(math.sqrt(n / float(weights.sum())), sign)
    x = margin * (rows.T @ weights)
    gaps = patterns @ x / math.sqrt(n) - margin
    if np.any(gaps[~contacts] <= 0):
        return None
    forces = np.zeros(len(patterns))
    forces[contacts] = weights / weights.mean()
    return Jammed(x, margin, gaps, forces, contacts)


def jam(start: Point) -> Jammed | None:
    """Return the jammed configuration that `start` comes to; None if none was found in `MOST_STEPS`.

    Parameters
    ----------
    start : Point
        Any configuration at any margin. If all patterns can be satisfied there, the margin is raised first.
    """
    now = minimum(start)
    low, raised = -math.inf, 0.05
    for _ in range(MOST_STEPS):
        if now.satisfied:
            # Up again, ever faster, until a pattern is not satisfied.
            low, above = now.margin, now.margin + raised
            raised *= 2
            now = minimum(Point.at(now.patterns, now.x, above))
            continue
        found = certified(now.patterns, now.gaps < 0, now.margin)
        if found is not None:
            return found
        now, raised = _lowered(now, low)
        if not now.satisfied:
            low = -math.inf
    return None


def _lowered(now: Point, low: float) -> tuple[Point, float]:
    """Return the minimum at a margin nearer to jamming, and by how much it was lowered.

    It is a satisfied one if the branch ends. `low` is a margin at which all patterns can be satisfied.
    """
    slope = -float(np.minimum(now.gaps, 0.0).sum())
    left = 2 * now.energy / slope * (1 - _LEFT)
    step = min(left, (now.margin - low) / 2)
    for _ in range(_HALVINGS):
        moved = minimum(followed(now, now.margin - step))
        if not moved.satisfied:
            return moved, step
        step /= 2
    return moved, step
