r"""The step of a curve through the landscape of a network: the bends descend, the ends stand still.

The degrees of freedom are the bends θ_1 … θ_n of a curve φ(t) = Σ_k w_k(t) P_k between two sets of weights
(`curves.geometry`). With t drawn for each step and g the gradient of a mini-batch's loss at φ(t), the
gradient for bend k is w_k(t) (g + λ φ(t)): weight decay acts on the curve. Optimiser and learning rate are
those of `training`. The module's own parameters are views of φ, so that any torch.nn.Module serves as it is.

Uniform in t (Garipov et al. 2018, arXiv:1802.10026, eq. (2)) one t is drawn, and a step costs one
gradient. Uniform along the curve (eq. (1)) the gradient is a covariance, which two t estimate without bias:
docs/curves.md derives it.

A position travels as the last number of a batch's indices, bit by bit: whatever carries batches, to a GPU
or into a captured step, carries it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.ensemble import Ensemble
from langevin.systems.curves import geometry
from langevin.systems.curves.band import shares
from langevin.systems.curves.geometry import Kind
from langevin.systems.curves.model import Loss

from ..schedules import Rates
from .perceptron import Compiled
from .step_rule import Rate
from .training import NOTHING, Alone, Stepper

#: Steps whose positions one stream gives.
BLOCK = 4096

#: Nodes of the quadrature of a curve's length.
NODES = 32


@dataclass(frozen=True)
class Bends:
    """The curves of all replicas.

    Attributes
    ----------
    start, end : Tensor, shape (R, M)
        Their ends.
    kind : {"chain", "bezier"}
    bends : int
    loss : {"uniform_t", "uniform_length"}
    ensemble : Ensemble
    spring : float or None
        Spring constant, if they are pivots of a nudged elastic band (a chain).
    """

    start: Tensor
    end: Tensor
    kind: Kind
    bends: int
    loss: Loss
    ensemble: Ensemble
    spring: float | None = None

    @property
    def draws(self) -> int:
        """Positions drawn for each step."""
        if self.spring is not None:
            return 0
        return 1 if self.loss == "uniform_t" else 2

    def stepper(self, alone: Alone, position: int) -> Stepper:
        """Return the stepper of the replica at `position`, for which `alone` finds gradients."""
        ends = self.start[position], self.end[position]
        if self.spring is not None:
            return OnBand(alone, *ends, self.bends, self.spring)
        kind = OnCurve if self.loss == "uniform_t" else OnLength
        return kind(alone, *ends, self.kind, self.bends)

    def append(self, chosen: NDArray[np.int64], replica: int, first: int) -> NDArray[np.int64]:
        """Return batches of steps from `first` on, shape (steps, 1, B), with the bits of their positions."""
        drawn = self.positions(replica, first, first + len(chosen))
        return np.concatenate([chosen, drawn.view(np.int64)[:, None]], axis=-1)

    def positions(self, replica: int, first: int, last: int) -> NDArray[np.float64]:
        """Return the positions t of the steps first … last − 1, shape (steps, draws): of (seed, replica)."""
        parts = []
        for number in range(first // BLOCK, -(-last // BLOCK)):
            stream = self.ensemble.driving("curve position", replica, number)
            drawn = stream.random((BLOCK, self.draws))
            parts.append(drawn[max(first - number * BLOCK, 0) : last - number * BLOCK])
        return np.concatenate([*parts, np.empty((0, self.draws))])


def weights(kind: Kind, t: Tensor, bends: int) -> Tensor:
    """Return the weights w_k(t) of the control points, shape (*t.shape, bends + 2), where t lives.

    As `geometry.weights`, which is numpy's; a captured step needs them on the GPU.
    """
    pieces = bends + 1
    k = torch.arange(pieces + 1, device=t.device, dtype=t.dtype)
    if kind == "chain":
        j = torch.clamp(torch.floor(t * pieces), max=pieces - 1)[..., None]
        u = t[..., None] * pieces - j
        return (k == j) * (1 - u) + (k == j + 1) * u
    # Filled where it lives: a step that is captured may copy nothing from the host.
    n = torch.full((), float(pieces), dtype=t.dtype, device=t.device)
    binomial = torch.exp(torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1))
    return torch.round(binomial) * t[..., None] ** k * (1 - t[..., None]) ** (pieces - k)


class OnCurve(Stepper):
    """One replica's curve, descending the mean uniform in t; `inner` finds gradients at φ.

    Parameters
    ----------
    inner : Alone
        A stepper of the network, from now on bound to φ.
    start, end : Tensor, shape (M,)
    kind : {"chain", "bezier"}
    bends : int
    """

    draws = 1

    def __init__(self, inner: Alone, start: Tensor, end: Tensor, kind: Kind, bends: int) -> None:
        super().__init__(inner.module, inner.problem)
        self.inner, self.start, self.end, self.kind, self.bends = inner, start, end, kind, bends
        self.phi = torch.empty_like(start)[None]
        inner.bind(self.phi)
        self._phi = self.layout.views(self.phi[0])
        self._decay = self.problem.rule.weight_decay
        self.rule = replace(self.problem.rule, weight_decay=0.0)

    @property
    def beside(self) -> list[Tensor]:
        """What steps depend on; statistics that they only leave behind belong to no point."""
        return self.inner.beside if self.problem.traits.remembers else []

    def bind(self, weights: Tensor, slots: Mapping[str, Tensor] = NOTHING) -> None:
        """Move these bends, shape (1, bends·M), with these slots, in place from now on."""
        super().bind(weights, slots)
        self.theta = weights.view(self.bends, self.layout.dof)
        self._weights = [v for row in self.theta for v in self.layout.views(row)]
        self.slot_rows = {name: slot.view(self.bends, -1) for name, slot in slots.items()}
        each = [self._slot_views(self.slot_rows, k) for k in range(self.bends)]
        self._slots = {name: [v for views in each for v in views[name]] for name in slots}

    def control_weights(self, t: Tensor) -> Tensor:
        """Return the weights of the control points in φ(t), in the network's precision, where it lives."""
        return weights(self.kind, t, self.bends).to(self.phi)

    def go_to(self, w: Tensor) -> None:
        """Set φ to Σ_k w_k P_k, w of shape (bends + 2,)."""
        phi = self.phi[0]
        torch.mul(self.start, w[0], out=phi)
        for k in range(self.bends):
            phi.addcmul_(self.theta[k], w[k + 1])
        phi.addcmul_(self.end, w[-1])

    def at(self, index: Tensor, w: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the loss at φ, shape (1,), and its gradient there with that of the decay."""
        with torch.no_grad():
            self.go_to(w)
        losses, gradients = self.inner.gradient(index)
        if self._decay:
            with torch.no_grad():
                self.problem.rule.add_decay(gradients, self._phi, self.inner.absent)
        return losses, gradients

    def run(self, batches: Tensor, rates: Rates) -> Tensor:
        """Take a step on each of the batches, shape (steps, 1, B + draws); as `Stepper.run`."""
        if not isinstance(self.inner, Compiled) or self.draws != 1:
            return super().run(batches, rates)
        ways = self.control_weights(batches[:, 0, -1].contiguous().view(torch.float64))
        ends = self.start, self.end
        return self.inner.run_bends(self.theta, self.slot_rows, ends, ways, batches[:, 0, :-1], rates)

    def step(self, index: Tensor, rate: Rate) -> Tensor:
        """Take one step on a batch, shape (1, B + draws); return the loss that it found, shape (1,)."""
        w = self.control_weights(index[0, -self.draws :].view(torch.float64))[0]
        losses, gradients = self.at(index[:, : -self.draws], w)
        with torch.no_grad():
            for k in range(self.bends):
                self._move(k, gradients, w[k + 1], rate)
        return losses

    def _move(self, k: int, gradients: list[Tensor], share: Tensor, rate: Rate) -> None:
        """Move one bend by its share of the gradient."""
        part, factor = slice(k * len(gradients), (k + 1) * len(gradients)), None
        slots = {name: views[part] for name, views in self._slots.items()}
        if share.device.type == "cpu":
            factor = float(share)
        else:
            # Nothing waits for the number: it stays on the GPU, and may differ in every replay of a graph.
            gradients = list(torch._foreach_mul(gradients, share))
        self.rule.apply(self._weights[part], gradients, slots, rate, factor)


class OnLength(OnCurve):
    r"""One replica's curve, descending the mean uniform along the curve.

    With ρ = |c'|/∫|c'|, ℓ the loss with the decay's energy and v_k' the rates of the control points' weights,
    the gradient for bend k is estimated from two independent t on the same batch as

        ½ Σ_i ρ_i w_k(t_i) g_i + ½ ρ_1 ρ_2 (ℓ_1 − ℓ_2)(s_1k − s_2k),    s_ik = w_k'(t_i) c'(t_i)/|c'(t_i)|².
    """

    draws = 2

    def __init__(self, inner: Alone, start: Tensor, end: Tensor, kind: Kind, bends: int) -> None:
        super().__init__(inner, start, end, kind, bends)
        panels = bends + 1 if kind == "chain" else 1
        t, self._h = geometry.quadrature(panels, -(-NODES // panels))
        self._nodes = geometry.differences(kind, t, bends)

    def step(self, index: Tensor, rate: Rate) -> Tensor:
        """Take one step on a batch, shape (1, B + 2); return the mean of its two losses, shape (1,)."""
        t = index[0, -2:].view(torch.float64)
        w, place = self.control_weights(t), t.cpu().numpy()
        v = geometry.differences(self.kind, place, self.bends)
        rates = geometry.rates(self.kind, place, self.bends)[:, 1:-1]
        with torch.no_grad():
            steps = torch.diff(torch.stack([self.start, *self.theta, self.end]), dim=0)
            gram = (steps @ steps.T).double().cpu().numpy()
            length = float(self._h @ self._speed(self._nodes, gram))
            speed = self._speed(v, gram)
            rho = speed / length
        losses, energies, total = [], [], torch.zeros_like(self.theta)
        for i in range(2):
            loss, gradients = self.at(index[:, :-2], w[i])
            with torch.no_grad():
                decay = self._decay / 2 * torch.sum(self.rule.decayed(self.phi).double() ** 2)
                energies.append(float(loss[0]) + float(decay))
                total.addmm_(0.5 * float(rho[i]) * w[i, 1:-1, None], self.layout.flat(gradients)[None])
            losses.append(loss)
        with torch.no_grad():
            # The covariance of energy and stretching, from one pair.
            pair = 0.5 * rho[0] * rho[1] * (energies[0] - energies[1])
            for i, sign in enumerate((1.0, -1.0)):
                if speed[i] > 0:
                    across = sign * pair * np.outer(rates[i], v[i]) / speed[i] ** 2
                    total.addmm_(torch.as_tensor(across, dtype=total.dtype, device=total.device), steps)
            own = [g for row in total for g in self.layout.views(row)]
            self.rule.apply(self._weights, own, self._slots, rate)
        return torch.stack(losses).mean(0)

    @staticmethod
    def _speed(v: NDArray[np.float64], gram: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return |c'| = √(v·G v) of rows v, with G the products of the control points' differences."""
        return np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", v, gram, v), 0.0))


class OnBand(OnCurve):
    """One replica's nudged elastic band: all pivots see one mini-batch, and move across the band alone.

    `curves.band` has the force; g, with the decay, stands for −f. Draxler, Veschgini, Salmhofer, Hamprecht,
    arXiv:1803.00885 (2018).

    Parameters
    ----------
    inner, start, end, bends
        As of `OnCurve`.
    spring : float
        In units of loss per squared weight.
    """

    draws = 0

    def __init__(self, inner: Alone, start: Tensor, end: Tensor, bends: int, spring: float) -> None:
        super().__init__(inner, start, end, "chain", bends)
        self.spring = spring
        self._places = torch.eye(bends + 2, dtype=start.dtype, device=start.device)

    def step(self, index: Tensor, rate: Rate) -> Tensor:
        """Take one step of all pivots on a batch, shape (1, B); return their mean loss, shape (1,)."""
        first, *places, last = self._places
        seen = [self.at(index, w) for w in places]
        with torch.no_grad():
            # The tangents ask for the energies of the ends, nothing for their gradients.
            self.go_to(first)
            ends = [self.inner.losses(index)]
            self.go_to(last)
            ends.append(self.inner.losses(index))
            losses = torch.cat([ends[0], *(loss for loss, _ in seen), ends[1]])
            points = [self.rule.decayed(p) for p in (self.start, *self.theta, self.end)]
            decay = [self._decay / 2 * torch.sum(p * p) for p in points]
            energies = (losses + torch.stack(decay).to(losses)).double().cpu().numpy()[None]
            forward, backward = (
                torch.as_tensor(share[0], dtype=losses.dtype, device=losses.device)[:, None]
                for share in shares(energies)
            )
            steps = torch.diff(torch.stack([self.start, *self.theta, self.end]), dim=0)
            tangent = torch.nn.functional.normalize(forward * steps[1:] + backward * steps[:-1], dim=1)
            lengths = torch.linalg.vector_norm(steps, dim=1)
            slope = torch.stack([self.layout.flat(g) for _, g in seen])
            along = torch.sum(slope * tangent, dim=1) + self.spring * (lengths[1:] - lengths[:-1])
            slope -= along[:, None] * tangent
            own = [g for row in slope for g in self.layout.views(row)]
            self.rule.apply(self._weights, own, self._slots, rate)
        return losses[1:-1].mean()[None]
