r"""A curve is a model: its degrees of freedom are the bends, its energy that of the model along the curve.

With e the model's energy per degree of freedom and s = |φ'|, the energy of a curve is, after Garipov et al.
2018 (arXiv:1802.10026),

    uniform_t:       E = ∫₀¹ e(φ(t)) dt                           their eq. (2), which they descend
    uniform_length:  E = ∫₀¹ e(φ(t)) s(t) dt / ∫₀¹ s(t) dt        their eq. (1), uniform along the curve

They are the same where s is constant. docs/curves.md derives the forces; on bend k, with M degrees of
freedom, ρ = s/∫s, J = ∂φ/∂c and f the model's force, that of M E is

    F_k = ⟨ρ w_k Jᵀf⟩ − M ⟨ρ (e − E) ∂ln s/∂θ_k⟩,    ⟨…⟩ the mean over t uniform in [0, 1],

with ρ = 1 and without the second term for uniform_t. The second term is the covariance, along the curve, of
the energy and of the stretching that θ causes. One draw of t cannot estimate a covariance, two can, without
bias.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from langevin.core.noise import Noise
from langevin.core.system import Array, Attributes, Model
from langevin.errors import UserError

from . import geometry
from .chained import KICK, Chained, check_kick
from .geometry import Kind
from .spaces import SPHERE, checked_ends

Loss: TypeAlias = Literal["uniform_t", "uniform_length"]

LOSSES: tuple[Loss, ...] = get_args(Loss)

#: The streams, one per replica, from which positions on the curve are drawn.
ROLE = "curve position"


class _Sampling(NamedTuple):
    """Positions t, shape (R, n), the weight of each in a mean, and that of each pair of them.

    Shapes (R, n) and (R,): a covariance along the curve is pair·Σ_ij m_i m_j (e_i − e_j) g_i.
    """

    t: Array
    mean: Array
    pair: float


class Curve(Chained):
    """Curves between two configurations of each replica of a model; as many replicas as the ends have.

    `langevin.core.dynamics.Langevin` drives it like any other model: at T = 0 it descends. On the sphere
    |x|² = M the bends, too, stay on it.

    Parameters
    ----------
    model : Model
        Of a force and an energy, without a constraint or on the sphere.
    start, end : ndarray, shape (R, dof)
        The ends A and B, which do not move.
    bends : int
        Number of bends, at least 1.
    kind : {"chain", "bezier"}
        See `geometry`.
    loss : {"uniform_t", "uniform_length"}
        What the mean over the curve is uniform in.
    draws : int, optional
        Positions t drawn for each step and replica. Default 1, or 2 for "uniform_length", its least. With 0
        the force is not drawn, but that of the quadrature, at `nodes` forces a step.
    weight_decay : float
        λ ≥ 0: (λ/2)|φ|² is added to the model's extensive energy in forces and `objective`, on the curve, not
        on its bends; `energy` is without it. In units of energy per squared coordinate.
    nodes : int
        Nodes of the quadrature in t at least; Gauss-Legendre, and for the chain on each piece.
    kick : float
        Random displacement of each bend at the start, over the distance of the ends: see `chained`.

    Attributes
    ----------
    dof : int
        Of the model.
    space : ConfigurationSpace
        Flat or the sphere.
    start, end : ndarray, shape (R, dof)

    Raises
    ------
    UserError
        If the ends differ in shape, coincide, are antipodal on a sphere or off it, or an option is none of
        those allowed.
    """

    def __init__(
        self,
        model: Model,
        start: Array,
        end: Array,
        *,
        bends: int = 1,
        kind: Kind = "chain",
        loss: Loss = "uniform_t",
        draws: int | None = None,
        weight_decay: float = 0.0,
        nodes: int = 32,
        kick: float = KICK,
    ) -> None:
        geometry.check(kind, bends)
        check_kick(kick)
        self.start, self.end, self.space = checked_ends(model, start, end)
        least = 2 if loss == "uniform_length" else 1
        self.draws = least if draws is None else draws
        _check_options(loss, self.draws, least, weight_decay, nodes)
        if weight_decay > 0 and self.space is SPHERE:
            raise UserError(f"weight_decay = {weight_decay:g}: must be 0 on the sphere, where |x|² is fixed")
        self.model, self.bends, self.kind, self.loss = model, bends, kind, loss
        self.weight_decay, self.kick = weight_decay, kick
        self.dof = self.start.shape[1]
        panels = bends + 1 if kind == "chain" else 1
        self._t, self._h = geometry.quadrature(panels, math.ceil(nodes / panels))
        self._known: tuple[Array, Array] | None = None

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        """Return −∂(M E)/∂θ, or its unbiased estimate from positions drawn here, shape (R, bends·dof).

        Parameters
        ----------
        x : ndarray, shape (R, bends·dof)
        t : float
            Time; it is passed on to the model, as is `noise`.
        noise : Noise, optional
            Its streams "curve position" advance by `draws` numbers each. None: the quadrature.
        """
        control = self.control(x)
        sampling = self._sampling(control, noise)
        c = geometry.points(self.kind, sampling.t, control)
        forces, energies = np.empty(c.shape), np.zeros(sampling.t.shape)
        for i in range(c.shape[1]):
            phi = np.ascontiguousarray(self.space.project(c[:, i]))
            if self.loss == "uniform_length":
                energies[:, i] = self.model.energy(phi) + self.weight_decay / 2 * np.mean(phi**2, axis=1)
            forces[:, i] = self.model.force(phi, t, noise) - self.weight_decay * phi
        own = geometry.weights(self.kind, sampling.t, self.bends)[..., 1:-1]
        force = _combined(sampling.mean[..., None] * own, self.space.pull_back(c, forces))
        if self.loss == "uniform_length":
            force -= self.dof * self._stretching(control, c, sampling, energies)
        return force.reshape(x.shape)

    def _sampling(self, control: Array, noise: Noise | None) -> _Sampling:
        """Return the positions of one force, and their weights."""
        replicas = len(control)
        if noise is None or self.draws == 0:
            t = np.broadcast_to(self._t, (replicas, len(self._t)))
            return _Sampling(t, self._weights(control), 1.0)
        t = np.array([generator.random(self.draws) for generator in noise.streams(ROLE)])
        mean = np.full(t.shape, 1 / self.draws)
        if self.loss == "uniform_length":
            speeds = geometry.speed(self.kind, self._t, control, self.space)
            mean *= (
                geometry.speed(self.kind, t, control, self.space)
                / geometry.integrals(speeds, self._h, self.rows)[:, None]
            )
        # n² m_i m_j is ρ_i ρ_j, and n(n − 1) the number of pairs of different draws.
        return _Sampling(t, mean, self.draws / max(self.draws - 1, 1))

    def _weights(self, control: Array) -> Array:
        """Return the weights of the quadrature's nodes in a mean along the curve, shape (R, n)."""
        if self.loss == "uniform_t":
            return np.broadcast_to(self._h, (len(control), len(self._h)))
        weights = self._h * geometry.speed(self.kind, self._t, control, self.space)
        return weights / weights.sum(axis=1, keepdims=True)

    def _stretching(self, control: Array, c: Array, sampling: _Sampling, energies: Array) -> Array:
        """Return the covariance of energy and ∂ln s/∂θ_k along the curve, shape (R, bends, dof)."""
        t, mean, pair = sampling
        excess = energies * mean.sum(axis=1, keepdims=True) - np.sum(mean * energies, axis=1, keepdims=True)
        coefficient = (pair * mean * excess)[..., None]
        by_c, by_rate = self.space.log_speed_gradient(c, geometry.derivative(self.kind, t, control))
        own = geometry.weights(self.kind, t, self.bends)[..., 1:-1]
        rates = geometry.rates(self.kind, t, self.bends)[..., 1:-1]
        return _combined(coefficient * own, by_c) + _combined(coefficient * rates, by_rate)

    def _energies(self, x: Array) -> Array:
        """Return e at the nodes of the quadrature, shape (R, n)."""
        # A measurement asks for energy and observables at the same x, which is never changed in place.
        if self._known is None or self._known[0] is not x:
            self._known = (x, along(self.model, self.path(x, self._t)))
        return self._known[1]

    def energy(self, x: Array) -> Array:
        """Return E, the mean of e along the curve by quadrature, without weight decay, shape (R,)."""
        return np.sum(self._weights(self.control(x)) * self._energies(x), axis=1)

    def objective(self, x: Array) -> Array:
        """Return what the force descends, shape (R,): E with weight decay on the curve."""
        decay = self.weight_decay / 2 * np.mean(self.path(x, self._t) ** 2, axis=2)
        return np.sum(self._weights(self.control(x)) * (self._energies(x) + decay), axis=1)

    def observables(self, x: Array) -> dict[str, Array]:
        """Return the highest energy at nodes of the quadrature, and the length over the shortest way's."""
        length = geometry.length(self.kind, self.control(x), self.space, self.rows)
        return {
            "highest_energy": self._energies(x).max(axis=1),
            "length_ratio": length / self.space.distance(self.start, self.end),
        }

    def attributes(self) -> Attributes:
        """Name the energy and the observables."""
        uniform = "t" if self.loss == "uniform_t" else "length"
        return {
            "energy": {
                "long_name": f"mean energy along the curve, uniform in {uniform}, per degree of freedom "
                "of the model"
            },
            "highest_energy": {"long_name": "highest energy along the curve", "units": "1"},
            "length_ratio": {"long_name": "length of the curve over the distance of its ends", "units": "1"},
        }


def _combined(coefficients: Array, vectors: Array) -> Array:
    """Return Σ_n a_nk v_n, shape (R, bends, dof), of shapes (R, n, bends) and (R, n, dof)."""
    return np.matmul(coefficients.swapaxes(1, 2), vectors)


def along(model: Model, path: Array) -> Array:
    """Return the energies per degree of freedom, shape (R, T), of configurations, shape (R, T, dof)."""
    energies = [model.energy(np.ascontiguousarray(path[:, i])) for i in range(path.shape[1])]
    return np.stack(energies, axis=1)


def _check_options(loss: str, draws: int, least: int, weight_decay: float, nodes: int) -> None:
    if loss not in LOSSES:
        raise UserError(f"loss = {loss!r}: must be one of {', '.join(LOSSES)}")
    if draws != 0 and draws < least:
        raise UserError(f"draws = {draws}: must be 0 (quadrature) or at least {least} for loss = {loss!r}")
    if not 0 <= weight_decay < math.inf:
        raise UserError(f"weight_decay = {weight_decay:g}: must be finite and at least 0")
    if nodes < 2:
        raise UserError(f"nodes = {nodes}: must be at least 2")
