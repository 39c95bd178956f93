r"""Where curves live: all of R^M, or the sphere |x|² = M.

Control points are combined linearly, to c(t). In R^M the curve is φ = c. On the sphere it is the projection
φ = √M u with u = c/r, r = |c|, whose Jacobian is

    ∂φ/∂c = (√M/r)(1 − u uᵀ),

symmetric: it maps c' to φ', and a force f at φ to the force on c. Of f it keeps the tangential part.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from langevin.core.capabilities import constrained
from langevin.core.system import Array, Model
from langevin.errors import Diverged, UserError

#: Below this radius of c, in units of the sphere's, the direction of c is rounding.
CENTRE = 1e-8


class ConfigurationSpace(Protocol):
    """What a curve needs to know of the space of configurations; all arrays end in the dimension dof."""

    name: str

    def project(self, c: Array) -> Array:
        """Return φ, the point of the space that the combination c of control points stands for."""

    def pull_back(self, c: Array, v: Array) -> Array:
        """Return (∂φ/∂c)ᵀ v: the force on c of a force v at φ; with v = c', the velocity φ'."""

    def log_speed_gradient(self, c: Array, rate: Array) -> tuple[Array, Array]:
        """Return ∂ln|φ'|/∂c and ∂ln|φ'|/∂c', with c' = `rate`; zero where φ' = 0, which has no direction."""

    def towards(self, x: Array, y: Array) -> Array:
        """Return the tangent vector at x of the shortest way to y, as long as that way."""

    def distance(self, x: Array, y: Array) -> Array:
        """Return the length of the shortest way from x to y."""

    def tangent(self, x: Array, v: Array) -> Array:
        """Return the part of v that is tangential at x."""

    def geodesic(self, start: Array, end: Array, t: Array) -> Array:
        """Return the shortest way at equal speed, shape (R, T, dof), of ends (R, dof) and t (T,)."""


class Flat:
    """All of R^M."""

    name = "flat"

    def project(self, c: Array) -> Array:
        """Return c."""
        return c

    def pull_back(self, c: Array, v: Array) -> Array:
        """Return v."""
        return v

    def log_speed_gradient(self, c: Array, rate: Array) -> tuple[Array, Array]:
        """Return 0 and c'/|c'|²."""
        return np.zeros_like(rate), _inverted(rate)

    def towards(self, x: Array, y: Array) -> Array:
        """Return y − x."""
        return y - x

    def distance(self, x: Array, y: Array) -> Array:
        """Return |y − x|."""
        return norm(y - x)

    def tangent(self, x: Array, v: Array) -> Array:
        """Return v."""
        return v

    def geodesic(self, start: Array, end: Array, t: Array) -> Array:
        """Return the segment."""
        return (1 - t)[:, None] * start[:, None, :] + t[:, None] * end[:, None, :]


class Sphere:
    """The sphere |x|² = M in R^M, M the number of degrees of freedom."""

    name = "sphere"

    def project(self, c: Array) -> Array:
        """Return √M c/|c|.

        Raises
        ------
        Diverged
            If c passes through the centre, where the projection has no limit: opposite directions meet.
        """
        radius = np.sqrt(c.shape[-1])
        r = norm(c)[..., None]
        if (r < CENTRE * radius).any():
            raise Diverged("the curve passes through the centre of the sphere, where it has no projection")
        return c * (radius / r)

    def pull_back(self, c: Array, v: Array) -> Array:
        """Return (√M/r)(v − u (u·v))."""
        return self.tangent(c, v) * (np.sqrt(c.shape[-1]) / norm(c)[..., None])

    def log_speed_gradient(self, c: Array, rate: Array) -> tuple[Array, Array]:
        r"""Return −c/r² − a p/|p|² and p/|p|², with a = c·c'/r² and p = c' − a c.

        From |φ'|² = M |p|²/r² = M (|c'|²/r² − (c·c')²/r⁴), differentiated by c and c'.
        """
        squared = np.sum(c * c, axis=-1, keepdims=True)
        a = np.sum(c * rate, axis=-1, keepdims=True) / squared
        inverted = _inverted(rate - a * c)
        return np.where(inverted.any(axis=-1, keepdims=True), -c / squared - a * inverted, 0.0), inverted

    def towards(self, x: Array, y: Array) -> Array:
        """Return the tangential part of y − x, as long as the great arc."""
        along = self.tangent(x, y - x)
        length = norm(along)[..., None]
        arc = self.distance(x, y)[..., None]
        return np.divide(along * arc, length, out=np.zeros_like(along), where=length > 0)

    def distance(self, x: Array, y: Array) -> Array:
        """Return √M times the angle, whatever the lengths of x and y; accurate at small angles, too."""
        u, v = x / norm(x)[..., None], y / norm(y)[..., None]
        return np.sqrt(x.shape[-1]) * 2 * np.arctan2(norm(u - v), norm(u + v))

    def tangent(self, x: Array, v: Array) -> Array:
        """Return v without its part along x."""
        radial = np.sum(x * v, axis=-1, keepdims=True) / np.sum(x * x, axis=-1, keepdims=True)
        return v - radial * x

    def geodesic(self, start: Array, end: Array, t: Array) -> Array:
        """Return the great arc."""
        angle = (self.distance(start, end) / np.sqrt(start.shape[-1]))[:, None, None]
        s = t[:, None]
        combined = np.sin((1 - s) * angle) * start[:, None, :] + np.sin(s * angle) * end[:, None, :]
        return self.project(combined / np.sin(angle))


FLAT: ConfigurationSpace = Flat()
SPHERE: ConfigurationSpace = Sphere()


def norm(v: Array) -> Array:
    """Return the Euclidean norms over the last axis."""
    return np.sqrt(np.sum(v * v, axis=-1))


def _inverted(v: Array) -> Array:
    """Return v/|v|², and 0 for v = 0."""
    squared = np.sum(v * v, axis=-1, keepdims=True)
    return np.divide(v, squared, out=np.zeros_like(v), where=squared > 0)


def space_of(model: Model, x: Array) -> ConfigurationSpace:
    """Return the space of a model's configurations, found from its constraint.

    Parameters
    ----------
    model : Model
    x : ndarray, shape (R, dof)
        A configuration of it.

    Raises
    ------
    UserError
        If the constraint is neither none nor the projection onto the sphere |x|² = dof.
    """
    if np.array_equal(constrained(model, x), x) and np.array_equal(constrained(model, 2 * x), 2 * x):
        return FLAT
    if np.allclose(constrained(model, 2 * x), SPHERE.project(x), rtol=1e-9, atol=1e-12):
        return SPHERE
    raise UserError(
        f"curves of {type(model).__name__}: its constraint is neither none nor the sphere |x|² = dof, and "
        "curves are known on these only"
    )


def checked_ends(model: Model, start: Array, end: Array) -> tuple[Array, Array, ConfigurationSpace]:
    """Return the two ends of curves, and the space they lie in.

    Parameters
    ----------
    model : Model
    start, end : array_like, shape (R, dof)

    Returns
    -------
    start, end : ndarray of float64, shape (R, dof)
        Copies.
    space : ConfigurationSpace

    Raises
    ------
    UserError
        If the ends differ in shape, coincide in some replica, are not finite, leave the constraint, or are
        antipodal on the sphere.
    """
    start, end = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
    if start.shape != end.shape:
        raise UserError(f"ends of a curve: shapes {start.shape} and {end.shape}; they must be the same")
    if start.ndim != 2 or start.size == 0:
        raise UserError(f"ends of a curve: shape {start.shape}; it must be (replica, dof)")
    for name, x in (("start", start), ("end", end)):
        if not np.isfinite(x).all():
            raise UserError(f"{name} of a curve: it holds values that are not finite")
    space = space_of(model, start)
    for k in range(len(start)):
        if np.array_equal(start[k], end[k]):
            raise UserError(
                f"ends of a curve: they coincide in replica {k}; a curve joins two configurations"
            )
    if space is SPHERE:
        _check_on_sphere(start, end)
    return start, end, space


def _check_on_sphere(start: Array, end: Array) -> None:
    dof = start.shape[1]
    for name, x in (("start", start), ("end", end)):
        squared = np.mean(x * x, axis=1)
        if (np.abs(squared - 1) > 1e-9).any():
            worst = int(np.argmax(np.abs(squared - 1)))
            raise UserError(
                f"{name} of a curve: |x|²/dof = {squared[worst]:.6g} in replica {worst}; must be 1"
            )
    # The great arc and, by symmetry, the start of every search are then not defined.
    opposite = norm(start + end) < 2 * CENTRE * np.sqrt(dof)
    if opposite.any():
        raise UserError(
            f"ends of a curve: antipodal in replica {int(np.argmax(opposite))}; every great circle through "
            "them is a shortest way, and the segment passes through the centre of the sphere"
        )
