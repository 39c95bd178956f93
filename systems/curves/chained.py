"""What curves and bands share: control points between two fixed ends, which are their degrees of freedom."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from langevin.noise import Noise
from langevin.system import Array, Model

from . import geometry
from .geometry import Kind
from .spaces import SPHERE, Space


class Chained(Model):
    """A path between the ends of each replica, with `bends` points in between as degrees of freedom.

    Attributes
    ----------
    start, end : ndarray, shape (R, dof)
        The ends, which do not move.
    bends, dof : int
        Points in between, and degrees of freedom of each.
    kind : {"chain", "bezier"}
        See `geometry`.
    space : Space
        Flat or the sphere.
    """

    #: Made from arrays; `run.ModelCurve` is what run files name.
    Parameters: ClassVar[type[Any]] = object

    start: Array
    end: Array
    bends: int
    dof: int
    kind: Kind
    space: Space

    def control(self, x: Array) -> Array:
        """Return the control points, ends included, shape (R, bends + 2, dof), of x, shape (R, bends·dof)."""
        theta = x.reshape(len(x), self.bends, self.dof)
        return np.concatenate([self.start[:, None], theta, self.end[:, None]], axis=1)

    def path(self, x: Array, t: Array) -> Array:
        """Return φ(t), shape (R, T, dof), at t, shape (T,); the ends exact."""
        return geometry.path(self.kind, np.asarray(t, dtype=np.float64), self.control(x), self.space)

    def initial_configuration(self, noise: Noise | None = None) -> Array:
        """Return equally spaced bends on the shortest way, shape (R, bends·dof): the path is that way."""
        control = geometry.segment(self.start, self.end, self.bends, self.space)
        return control[:, 1:-1].reshape(len(control), -1)

    def constrain(self, x: Array) -> Array:
        """Put every bend on the sphere, where there is one."""
        if self.space is not SPHERE:
            return x
        return self.space.project(x.reshape(len(x), self.bends, self.dof)).reshape(x.shape)
