"""What curves and bands share: control points between two fixed ends, which are their degrees of freedom.

**The start.** Bends at equal distances on the shortest way, each then pushed aside at random by the part
`kick` of the ends' distance. Where a reflection that exchanges the ends leaves the landscape as it is, it
maps the shortest way onto itself, and the force is symmetric as well: a search that draws nothing keeps the
symmetry for ever, and ends on a saddle of the curve's energy if the minima are not symmetric. (In the valley
of docs/curves.md the mean of a chain has the curvature −0.6 along the bend's forbidden direction.) A push in
all directions has a part along every forbidden one, which grows like exp(|λ| t): the curve leaves the saddle
after a time of about ln(1/kick)/|λ|, be the kick ever so small. The energy of the start changes by kick² of
what a displacement by the ends' distance would change, 10⁻⁶ of it for `KICK`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from langevin.core.capabilities import DescribesVariables, HasConstraint, HasObservables
from langevin.core.noise import Noise
from langevin.core.system import Array, Model
from langevin.errors import UserError

from . import geometry
from .geometry import Kind
from .spaces import SPHERE, ConfigurationSpace

#: Length of the random displacement of each bend at the start, over the distance of the ends.
KICK = 1e-3

#: The streams, one per replica, that it is drawn from: no other draw depends on it.
KICK_ROLE = "curve kick"


class Chained(Model, HasConstraint, HasObservables, DescribesVariables):
    """A path between the ends of each replica, with `bends` points in between as degrees of freedom.

    Attributes
    ----------
    start, end : ndarray, shape (R, dof)
        The ends, which do not move.
    bends, dof : int
        Points in between, and degrees of freedom of each.
    kind : {"chain", "bezier"}
        See `geometry`.
    space : ConfigurationSpace
        Flat or the sphere.
    kick : float
        Root mean square length of the random displacement of each bend at the start, over the distance of
        the ends.
    rows : geometry.Rows or None
        Where these replicas stand among those of their run, if they are a shard of it.
    """

    #: Made from arrays; `run.ModelCurve` is what run files name.
    Parameters: ClassVar[type[Any]] = object

    start: Array
    end: Array
    bends: int
    dof: int
    kind: Kind
    space: ConfigurationSpace
    kick: float
    rows: geometry.Rows | None = None

    def control(self, x: Array) -> Array:
        """Return the control points, ends included, shape (R, bends + 2, dof), of x, shape (R, bends·dof)."""
        theta = x.reshape(len(x), self.bends, self.dof)
        return np.concatenate([self.start[:, None], theta, self.end[:, None]], axis=1)

    def path(self, x: Array, t: Array) -> Array:
        """Return φ(t), shape (R, T, dof), at t, shape (T,); the ends exact."""
        return geometry.path(self.kind, np.asarray(t, dtype=np.float64), self.control(x), self.space)

    def initial_configuration(self, noise: Noise | None = None) -> Array:
        """Return equally spaced bends on the shortest way, each kicked off it, shape (R, bends·dof).

        Parameters
        ----------
        noise : Noise, optional
            Its streams "curve kick" give the directions. None: no kick, the path is the shortest way.
        """
        control = geometry.segment(self.start, self.end, self.bends, self.space)
        x = control[:, 1:-1].reshape(len(control), -1)
        if noise is None or self.kick == 0:
            return x
        pushed = noise.normal(x.shape[1], KICK_ROLE).reshape(len(x), self.bends, self.dof)
        far = self.space.distance(self.start, self.end)[:, None, None]
        pushed = self.space.tangent(control[:, 1:-1], pushed)
        return self.constrain(x + (self.kick * far / np.sqrt(self.dof) * pushed).reshape(x.shape))

    def constrain(self, x: Array) -> Array:
        """Put every bend on the sphere, where there is one."""
        if self.space is not SPHERE:
            return x
        return self.space.project(x.reshape(len(x), self.bends, self.dof)).reshape(x.shape)


def check_kick(kick: float) -> None:
    """Raise `UserError` if the kick is not at least 0 and below 1, the distance of the ends."""
    if not 0 <= kick < 1:
        raise UserError(f"kick = {kick:g}: must be at least 0 and below 1, as a part of the ends' distance")
