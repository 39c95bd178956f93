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
from typing import Literal, TypeAlias, get_args

import numpy as np

from langevin.core.system import Array
from langevin.errors import UserError

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


def _bernstein(degree: int, t: Array) -> Array:
    k = np.arange(degree + 1)
    binomial = np.array([float(math.comb(degree, int(j))) for j in k])
    return binomial * t[..., None] ** k * (1 - t[..., None]) ** (degree - k)


def _piece(t: Array, pieces: int) -> Array:
    """Return which piece of the chain t lies on, as floats: of a kink the later, of 1 the last."""
    return np.minimum(np.floor(t * pieces), pieces - 1)


def weights(kind: Kind, t: Array, bends: int) -> Array:
    """Return the weights w_k(t) of the control points, shape (*t.shape, bends + 2).

    They are never negative, add to 1, and are exactly (1, 0, …) at t = 0 and (…, 0, 1) at t = 1.

    Parameters
    ----------
    kind : {"chain", "bezier"}
    t : ndarray
        In [0, 1].
    bends : int
    """
    t, pieces = np.asarray(t, dtype=np.float64), bends + 1
    if kind == "bezier":
        return _bernstein(pieces, t)
    j = _piece(t, pieces)
    u = (t * pieces - j)[..., None]
    k = np.arange(pieces + 1)
    return np.where(k == j[..., None], 1 - u, 0.0) + np.where(k == j[..., None] + 1, u, 0.0)


def differences(kind: Kind, t: Array, bends: int) -> Array:
    """Return the weights v_k(t) of P_{k+1} − P_k in c'(t), shape (*t.shape, bends + 1).

    At a kink of the chain that of the later piece.
    """
    t, pieces = np.asarray(t, dtype=np.float64), bends + 1
    if kind == "bezier":
        return pieces * _bernstein(bends, t)
    return np.where(np.arange(pieces) == _piece(t, pieces)[..., None], float(pieces), 0.0)


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


def length(kind: Kind, control: Array, space: ConfigurationSpace = FLAT) -> Array:
    """Return the lengths of curves, shape (R,), in units of the coordinates.

    The chain's is the sum over its pieces, exactly; the Bezier curve's a quadrature of |φ'| with relative
    error below 1e-8 unless the curve nearly turns back in a cusp.
    """
    if kind == "chain":
        return np.sum(space.distance(control[:, :-1], control[:, 1:]), axis=1)
    t, h = quadrature(PANELS, NODES)
    return speed(kind, t, control, space) @ h


def arc_lengths(kind: Kind, t: Array, control: Array, space: ConfigurationSpace = FLAT) -> Array:
    """Return the length of the curve from 0 to each t, shape (R, T); t ascending from 0, shape (T,).

    Of the chain exactly; of the Bezier curve by quadrature between one t and the next.
    """
    if kind == "chain":
        pieces = control.shape[1] - 1
        whole = np.cumsum(space.distance(control[:, :-1], control[:, 1:]), axis=1)
        j = _piece(t, pieces).astype(int)
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
