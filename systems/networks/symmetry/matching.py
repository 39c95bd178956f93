r"""Units of one network are permuted to fit those of another: weight matching.

Ainsworth, Hayase and Srinivasa, Git Re-Basin (ICLR 2023, arXiv:2209.04836), section 3.2 and algorithm 1. Of
all permutations π that leave the function of network B alone, that is sought which brings its weights
nearest to those of A:

    argmin_π |w_A − π(w_B)|² = argmax_π w_A · π(w_B),

for |π(w_B)| = |w_B|. With the permutations of all groups but one given, the overlap is a sum Σ_i S_{i π(i)}
over the units of this one, S_ij the overlap of all weights at unit i of A with those at unit j of B: a linear
assignment, which is solved exactly. The groups take turns, in random order, until none of them gains any
more. The overlap never falls; what is found is a maximum of each group by itself, not of all together.

Weights of a layer that reads and writes the same group depend on its permutation twice. Then the assignment
takes one of the two as it was, and counts only if the overlap has grown.

Permutations are not all symmetries: factors between layers of ReLU, or signs of tanh, are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from .groups import Axis, Group

Weights = Mapping[str, NDArray[np.float64]]
Permutation = NDArray[np.int64]

#: Turns of all groups, at most; some ten are enough.
TURNS = 200
#: A gain smaller than this part of |w_A||w_B| is rounding.
ROUNDING = 1e-12


def permuted(
    weights: Weights, groups: Sequence[Group], order: Sequence[Permutation]
) -> dict[str, NDArray[np.float64]]:
    """Return the weights with unit i of each group where unit order[i] was."""
    found = dict(weights)
    for group, own in zip(groups, order, strict=True):
        for axis in group.axes:
            if axis.name in found:
                found[axis.name] = _along(found[axis.name], axis, own)
    return found


def _along(values: NDArray[np.float64], axis: Axis, order: Permutation) -> NDArray[np.float64]:
    """Return an array with channels in another order along one axis."""
    index = (order[:, None] * axis.repeat + np.arange(axis.repeat)).ravel()
    return np.take(values, index, axis=axis.axis)


def matched(a: Weights, b: Weights, groups: Sequence[Group], rng: np.random.Generator) -> list[Permutation]:
    """Return for each group the order of units of b that fits those of a.

    Parameters
    ----------
    a, b : mapping
        Name → weights of both networks.
    groups : sequence of Group
    rng : Generator
        Says in which order the groups take turns.
    """
    order = [np.arange(group.size) for group in groups]
    scale = np.sqrt(sum(np.sum(v**2) for v in a.values()) * sum(np.sum(v**2) for v in b.values()))
    for _ in range(TURNS):
        gained = False
        for k in rng.permutation(len(groups)):
            gained |= _turn(a, b, groups, order, int(k), ROUNDING * scale)
        if not gained:
            break
    return order


def overlap(a: Weights, b: Weights) -> float:
    """Return w_A · w_B."""
    return float(sum(np.sum(a[name] * b[name]) for name in a))


def _turn(
    a: Weights, b: Weights, groups: Sequence[Group], order: list[Permutation], k: int, least: float
) -> bool:
    """Assign the units of group k anew, the others as they are; return whether anything was gained."""
    group, others = groups[k], list(order)
    others[k] = np.arange(group.size)
    there = permuted(b, groups, others)
    twice = {axis.name for axis in group.axes if sum(o.name == axis.name for o in group.axes) > 1}
    table = np.zeros((group.size, group.size))
    for axis in group.axes:
        if axis.name not in a:
            continue
        theirs = there[axis.name]
        for other in group.axes:
            if other.name == axis.name and other.axis != axis.axis:
                theirs = _along(theirs, other, order[k])
        table += _rows(a[axis.name], axis) @ _rows(theirs, axis).T
    new = np.asarray(linear_sum_assignment(table, maximize=True)[1])
    places = np.arange(group.size)
    gain = table[places, new].sum() - table[places, order[k]].sum()
    if twice:
        trial = list(order)
        trial[k] = new
        gain = overlap(a, permuted(b, groups, trial)) - overlap(a, permuted(b, groups, order))
    if gain <= least:
        return False
    order[k] = new
    return True


def _rows(values: NDArray[np.float64], axis: Axis) -> NDArray[np.float64]:
    """Return what stands at each channel along an axis, a row for each."""
    moved = np.moveaxis(values, axis.axis, 0)
    return moved.reshape(len(moved) // axis.repeat, -1)
