r"""The nudged elastic band: a chain of pivots between two configurations, held apart by springs.

Pivot i moves by the part of the model's force f across the band, and by springs along it:

    F_i = f_i − (f_i·τ_i) τ_i + k (|x_{i+1} − x_i| − |x_i − x_{i−1}|) τ_i.

τ_i is the improved tangent of Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000): it points to the
neighbour of higher energy; at a maximum or minimum of the band it is the mean of both directions, weighted by
differences of energy. The springs do not pull the band off its way, and the force does not slide the pivots
down to the minima. With `climbing`, the highest pivot of each band feels no springs and f with its part along
τ reversed, and goes to the saddle (Henkelman, Uberuaga, Jónsson, J. Chem. Phys. 113, 9901 (2000)). Between
minima of networks: Draxler, Veschgini, Salmhofer, Hamprecht, arXiv:1803.00885 (2018).

F is not the gradient of any energy: the band is at rest where f has no part across it, on a path of steepest
descent. So it means a search at T = 0; at T > 0 there is no Boltzmann distribution that it would sample.
"""

from __future__ import annotations

import math

import numpy as np

from langevin.core.noise import Noise
from langevin.core.system import Array, Attributes, Model
from langevin.errors import UserError

from . import geometry
from .chained import KICK, Chained, check_kick
from .model import along
from .spaces import checked_ends, norm


class Band(Chained):
    """Nudged elastic bands between two configurations of each replica of a model.

    Parameters
    ----------
    model : Model
        Of a force and an energy, without a constraint or on the sphere.
    start, end : ndarray, shape (R, dof)
        The ends A and B, which do not move.
    bends : int
        Number of pivots between the ends, at least 1.
    spring : float
        Spring constant k > 0, in units of energy per squared coordinate. A step is stable if k dt < 1/2.
    climbing : bool
        Whether the highest pivot climbs to the saddle. Let the band settle without, first.
    kick : float
        See `chained`: the start is broken, so that symmetric pivots do not stay where a symmetry holds them.

    Attributes
    ----------
    kind : str
        "chain": the curve through the pivots, for `geometry` and `profile`.
    dof : int
        Of the model.

    Raises
    ------
    UserError
        As `Curve`.
    """

    kind: geometry.Kind = "chain"

    def __init__(
        self,
        model: Model,
        start: Array,
        end: Array,
        *,
        bends: int = 9,
        spring: float = 1.0,
        climbing: bool = False,
        kick: float = KICK,
    ) -> None:
        geometry.check(self.kind, bends)
        check_kick(kick)
        if not 0 < spring < math.inf:
            raise UserError(f"spring = {spring:g}: must be finite and above 0")
        self.start, self.end, self.space = checked_ends(model, start, end)
        self.model, self.bends, self.spring, self.climbing = model, bends, spring, climbing
        self.kick = kick
        self.dof = self.start.shape[1]
        self._ends = np.stack([model.energy(self.start), model.energy(self.end)], axis=1)
        self._known: tuple[Array, Array] | None = None

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        """Return the force F on the pivots, shape (R, bends·dof)."""
        control, energies = self.control(x), np.empty((len(x), self.bends + 2))
        energies[:, 0], energies[:, -1] = self._ends.T
        true = np.empty((len(x), self.bends, self.dof))
        for i in range(self.bends):
            pivot = np.ascontiguousarray(control[:, i + 1])
            energies[:, i + 1] = self.model.energy(pivot)
            true[:, i] = self.space.tangent(pivot, self.model.force(pivot, t, noise))
        pivots = control[:, 1:-1]
        ahead = self.space.towards(pivots, control[:, 2:])
        behind = -self.space.towards(pivots, control[:, :-2])
        tangent = tangents(ahead, behind, energies)
        projected = np.sum(true * tangent, axis=2, keepdims=True) * tangent
        springs = self.spring * (norm(ahead) - norm(behind))[..., None] * tangent
        force = true - projected + springs
        if self.climbing:
            replica, top = np.arange(len(x)), np.argmax(energies[:, 1:-1], axis=1)
            force[replica, top] = true[replica, top] - 2 * projected[replica, top]
        return force.reshape(x.shape)

    def _energies(self, x: Array) -> Array:
        """Return the energies of the pivots, shape (R, bends)."""
        if self._known is None or self._known[0] is not x:
            self._known = (x, along(self.model, self.control(x)[:, 1:-1]))
        return self._known[1]

    def energy(self, x: Array) -> Array:
        """Return the mean energy of the pivots per degree of freedom of the model, shape (R,)."""
        return np.mean(self._energies(x), axis=1)

    def observables(self, x: Array) -> dict[str, Array]:
        """Return the highest energy of pivots and ends, and the band's length over the shortest way's."""
        highest = np.maximum(self._energies(x).max(axis=1), self._ends.max(axis=1))
        length = geometry.length(self.kind, self.control(x), self.space)
        ratio = length / self.space.distance(self.start, self.end)
        return {"highest_energy": highest, "length_ratio": ratio}

    def attributes(self) -> Attributes:
        """Name the energy and the observables."""
        return {
            "energy": {"long_name": "mean energy of the pivots, per degree of freedom of the model"},
            "highest_energy": {"long_name": "highest energy of pivots and ends", "units": "1"},
            "length_ratio": {"long_name": "length of the band over the distance of its ends", "units": "1"},
        }


def tangents(ahead: Array, behind: Array, energies: Array) -> Array:
    """Return the improved tangents, unit vectors, shape (R, n, dof).

    Parameters
    ----------
    ahead, behind : ndarray, shape (R, n, dof)
        From each pivot to the next point, and to it from the point before.
    energies : ndarray, shape (R, n + 2)
        Of the pivots, with the ends first and last.
    """
    forward, backward = shares(energies)
    direction = forward[..., None] * ahead + backward[..., None] * behind
    size = norm(direction)[..., None]
    return np.divide(direction, size, out=np.zeros_like(direction), where=size > 0)


def shares(energies: Array) -> tuple[Array, Array]:
    """Return how much of the ways ahead and behind is in each pivot's tangent, shape (R, n) each.

    Parameters
    ----------
    energies : ndarray, shape (R, n + 2)
        Of the pivots, with the ends first and last.
    """
    here, before, after = energies[:, 1:-1], energies[:, :-2], energies[:, 2:]
    up, down = np.abs(after - here), np.abs(before - here)
    large, small = np.maximum(up, down), np.minimum(up, down)
    rising, falling = (before < here) & (here < after), (before > here) & (here > after)
    level = large == 0
    # At an extremum of the band the larger difference belongs to the neighbour of higher energy.
    forward = np.where(after > before, large, small)
    backward = np.where(after > before, small, large)
    forward = np.where(rising | level, 1.0, np.where(falling, 0.0, forward))
    return forward, np.where(falling | level, 1.0, np.where(rising, 0.0, backward))
