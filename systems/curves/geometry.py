r"""Curves between two fixed ends A and B, with any number of bends θ: polygonal chains and Bezier curves.

The control points are P_0 = A, P_1 … P_n = θ, P_{n+1} = B, and c(t) = Σ_k w_k(t) P_k for t in [0, 1]. With m
= n + 1 pieces,

    chain:   w_k the hat functions of the grid j/m: straight pieces, each passed in 1/m of t,
    bezier:  w_k(t) = (m choose k) t^k (1 − t)^{m−k}, the Bernstein polynomials.

c' = Σ_k v_k(t) (P_{k+1} − P_k), differences first; v_k is m on piece k of the chain and 0 elsewhere, and
m times the Bernstein polynomials of degree m − 1. For one bend these are the curves of Garipov et al. 2018,
arXiv:1802.10026, section 3. What is said of t holds for any array library: networks need the weights alone.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.results.curves import bernstein, piece
from langevin.results.curves import weights as weights

from .spaces import FLAT, ConfigurationSpace, norm

Kind: TypeAlias = Literal["chain", "bezier"]

KINDS: tuple[Kind, ...] = get_args(Kind)

#: Panels of [0, 1], and Gauss-Legendre nodes in each, of integrals over Bezier curves.
PANELS, NODES = 16, 6


def check(kind: str, bends: int) -> None:
    """Raise `UserError` if `kind` is not a kind of curve or `bends` not at least 1."""
    if kind not in KINDS:
        raise UserError(f"curve = {kind!r}: must be one of {', '.join(KINDS)}")
    if isinstance(bends, bool) or not isinstance(bends, int | np.integer) or bends < 1:
        raise UserError(f"bends = {bends!r}: must be an integer of at least 1")


def differences(kind: Kind, t: Array, bends: int) -> Array:
    """Return the weights v_k(t) of P_{k+1} − P_k in c'(t), shape (*t.shape, bends + 1).

    At a kink of the chain that of the later piece.
    """
    t, pieces = np.asarray(t, dtype=np.float64), bends + 1
    if kind == "bezier":
        return pieces * bernstein(bends, t)
    return np.where(np.arange(pieces) == piece(t, pieces)[..., None], float(pieces), 0.0)


def rates(kind: Kind, t: Array, bends: int) -> Array:
    """Return w_k'(t), shape (*t.shape, bends + 2): the weights of the control points in c'(t)."""
    v = differences(kind, t, bends)
    edge = np.zeros((*v.shape[:-1], 1))
    return np.concatenate([edge, v], axis=-1) - np.concatenate([v, edge], axis=-1)


def points(kind: Kind, t: Array, control: Array) -> Array:
    """Return c(t), shape (R, T, dof), of control points (R, bends + 2, dof) and t, shape (T,) or (R, T).

    c(0) and c(1) are the ends, to the last bit.
    """
    return np.matmul(weights(kind, t, control.shape[1] - 2), control)


def derivative(kind: Kind, t: Array, control: Array) -> Array:
    """Return c'(t), shape (R, T, dof); arguments as `points`."""
    return np.matmul(differences(kind, t, control.shape[1] - 2), np.diff(control, axis=1))


def path(kind: Kind, t: Array, control: Array, space: ConfigurationSpace = FLAT) -> Array:
    """Return φ(t), shape (R, T, dof), in the space, with the ends exact; arguments as `points`."""
    path = space.project(points(kind, t, control))
    # The projection of a point on the sphere is the point itself, but for the last bit.
    t = np.broadcast_to(t, path.shape[:2])[..., None]
    path = np.where(t == 0, control[:, :1], path)
    return np.where(t == 1, control[:, -1:], path)


def speed(kind: Kind, t: Array, control: Array, space: ConfigurationSpace = FLAT) -> Array:
    """Return |φ'(t)|, shape (R, T); arguments as `points`."""
    rate = derivative(kind, t, control)
    return norm(rate if space is FLAT else space.pull_back(points(kind, t, control), rate))


def segment(start: Array, end: Array, bends: int, space: ConfigurationSpace = FLAT) -> Array:
    """Return control points at equal distances on the shortest way, shape (R, bends + 2, dof).

    The curve is then that way: the segment, or on the sphere the great arc (control points in a plane
    through the centre keep the curve in it).

    Parameters
    ----------
    start, end : ndarray, shape (R, dof)
    bends : int
    space : ConfigurationSpace
    """
    control = space.geodesic(start, end, np.linspace(0, 1, bends + 2))
    control[:, 0], control[:, -1] = start, end
    return control


def quadrature(panels: int, nodes: int) -> tuple[Array, Array]:
    """Return t and weights, shape (panels·nodes,), of Gauss-Legendre quadrature on equal panels."""
    x, h = np.polynomial.legendre.leggauss(nodes)
    t = (np.arange(panels)[:, None] + (x + 1) / 2) / panels
    return t.ravel(), np.tile(h / (2 * panels), panels)


class Rows(NamedTuple):
    """Where the replicas of a shard stand among all of the run.

    Attributes
    ----------
    position : ndarray of int
    replicas : int
        Of the run.
    """

    position: NDArray[np.int64]
    replicas: int

    @classmethod
    def of(cls, ensemble: Ensemble) -> Rows | None:
        """Return where these replicas stand; None if they are all."""
        if ensemble.run is None:
            return None
        return cls(np.searchsorted(ensemble.run.replica, ensemble.replica), ensemble.run.size)


def integrals(values: Array, h: Array, rows: Rows | None = None) -> Array:
    """Return Σ_t values h of every replica, shape (R,).

    How BLAS sums a row depends on its place and the number of rows: those of a shard take their places.
    """
    if rows is None:
        return values @ h
    every = np.zeros((rows.replicas, len(h)))
    every[rows.position] = values
    return (every @ h)[rows.position]


def length(kind: Kind, control: Array, space: ConfigurationSpace = FLAT, rows: Rows | None = None) -> Array:
    """Return the lengths of curves, shape (R,), in units of the coordinates; of a shard with its `rows`.

    The chain's is the sum over its pieces, exactly; the Bezier curve's a quadrature of |φ'| with relative
    error below 1e-8 unless the curve nearly turns back in a cusp.
    """
    if kind == "chain":
        return np.sum(space.distance(control[:, :-1], control[:, 1:]), axis=1)
    t, h = quadrature(PANELS, NODES)
    return integrals(speed(kind, t, control, space), h, rows)


def arc_lengths(kind: Kind, t: Array, control: Array, space: ConfigurationSpace = FLAT) -> Array:
    """Return the length of the curve from 0 to each t, shape (R, T); t ascending from 0, shape (T,).

    Of the chain exactly; of the Bezier curve by quadrature between one t and the next.
    """
    if kind == "chain":
        pieces = control.shape[1] - 1
        whole = np.cumsum(space.distance(control[:, :-1], control[:, 1:]), axis=1)
        j = piece(t, pieces).astype(int)
        begun = np.concatenate([np.zeros((len(control), 1)), whole], axis=1)[:, j]
        return begun + space.distance(control[:, j], points(kind, t, control))
    x, h = quadrature(1, NODES)
    widths = np.diff(t)
    inside = t[:-1, None] + widths[:, None] * x
    speeds = speed(kind, inside.ravel(), control, space).reshape(len(control), *inside.shape)
    steps = np.cumsum(widths * (speeds @ h), axis=1)
    return np.concatenate([np.zeros((len(control), 1)), steps], axis=1)


def at_arc_lengths(kind: Kind, control: Array, count: int, space: ConfigurationSpace = FLAT) -> Array:
    """Return the t, shape (R, count), of points at equal distances along the curve, both ends among them.

    By Newton's method from a table of arc lengths whose panels meet the kinks of a chain.
    """
    pieces = control.shape[1] - 1
    edges = np.linspace(0, 1, pieces * math.ceil(PANELS / pieces) + 1)
    table = arc_lengths(kind, edges, control, space)
    fraction = np.linspace(0, 1, count)
    x, h = quadrature(1, NODES)
    places = np.empty((len(control), count))
    for k, lengths in enumerate(table):
        target = fraction * lengths[-1]
        cell = np.clip(np.searchsorted(lengths, target, side="right") - 1, 0, len(edges) - 2)
        low, high = edges[cell], edges[cell + 1]
        begun, whole = lengths[cell], lengths[cell + 1] - lengths[cell]
        t = low + (high - low) * np.divide(target - begun, whole, out=np.zeros(count), where=whole > 0)
        one = control[k : k + 1]
        for _ in range(5):
            inside = low[:, None] + (t - low)[:, None] * x
            passed = (t - low) * (speed(kind, inside.reshape(1, -1), one, space).reshape(inside.shape) @ h)
            here = speed(kind, t, one, space)[0]
            excess = begun + passed - target
            t = np.clip(t - np.divide(excess, here, out=np.zeros(count), where=here > 0), low, high)
        places[k] = t
    places[:, 0], places[:, -1] = 0.0, 1.0
    return places
