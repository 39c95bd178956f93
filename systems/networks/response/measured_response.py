r"""The response of a network to a constant field h, switched on at t_w.

    χ(t_w + t, t_w) = (1/M) Σ_i ∂⟨w_i(t_w + t)⟩/∂h_i.

The field is a force: that of every later step is −g + h in place of −g (`training`), so that α h is what one
step adds. In the time of gradient flow, s = α n, it is dw/ds = −∇L + h, whatever the learning rate. No time
stands in χ, and its unit is that of w² over that of the loss. Where exp(−(L + λ|w|²/2)/T) is sampled,

    χ(t_w + t, t_w) = [C(t_w, t_w) − C(t_w + t, t_w)]/T = Δ(t_w, t_w + t)/(2 T),

up to O(α): the fluctuation-dissipation theorem (FDT), for the T of the thermal noise. The second form, for
displacements, holds for weights whose norm is not stationary, too, and is what an effective temperature is
read from at T = 0, T_eff = dΔ/(2 dχ). Steps in frozen noise alone, without gradient, have Δ = α² D n/B and
χ = α n: T_eff = α D/(2B), and with momentum μ, 1/(1 − μ) times as much once n ≫ 1/(1 − μ) (Δ has α/(1 − μ)
squared, χ has it once).

**From a field** (any T). Where t_w begins, a replica is copied twice, with slots and running statistics.
The copies w± then take the steps of the replica, with its batches and views and its thermal noise
(common random numbers), in the fields ±h σ_i, with random signs σ_i of their own for every replica and
waiting time. With w±(t) = w + Σ_j R_ij (±h σ_j) + even terms + O(h³),

    χ = (1/(2 h M)) Σ_i σ_i (w_i⁺ − w_i⁻) = (1/M) Σ_ij σ_i R_ij σ_j + O(h²).

The mean over the signs is (1/M) Σ_i R_ii, without bias but for O(h²): even orders cancel in w⁺ − w⁻. A single
draw is off by Σ_{i≠j} σ_i σ_j R_ij/M, of variance

    (1/(2M²)) Σ_{i≠j} (R_ij + R_ji)²,

which is 2 Σ_{i≠j} R_ij²/M² for a symmetric R: relative to χ of the order of 1/√M if R has many modes, and
zero at first, R = α n 1. It is part of the scatter of the replicas. What they share is the batches, so that
the fluctuations of w itself are not in it.

How differently the copies answer is measured: `response_nonlinearity` is |χ⁺ − χ⁻|/(χ⁺ + χ⁻), of the
responses χ± = ± Σ_i σ_i (w_i± − w_i)/(h M) to either sign, O(h) for a smooth loss. It is a projection, as χ
is: the even part of w itself need not be small. Units of ReLU that go on or off in one copy and not in the
other change its gradient by a finite step, at a rate ∝ h, in a direction that σ does not know: the even part
of w over the odd one grows as h^(−1/2), to O(1) within tens of steps, where χ⁺ and χ⁻ agree to parts of a
thousand. It is no bound for the cubic terms: of a field so large that the gradient is nothing beside it, w±
move freely, both ways, and nothing is seen. Whether χ depends on h a run with another `record.field` shows;
its signs are the same.
With single precision α h must exceed the spacing of numbers; the automatic field is a hundredth of the rms
noise of a step's force for each weight, √(D/B + 2T/α), and at least `LEAST` spacings of the largest weight,
over α.

Where trajectories separate exponentially so do w⁺ and w⁻, in directions that have nothing to do with the
field: the off-diagonal part of R grows, and with it the scatter of χ over the replicas. It is the known limit
of linear response in single trajectories (van Kampen 1971, Phys. Norv. 5, 279).

**From the noise** (T > 0, without a field). A step ends with the kick k_n = √(2Tα_n) ξ_n, independent of all
before; w'_n is where it finds the weights. A field moves the step by α_n h, as if it were part of the kick.
Integration by parts over Gaussians (Furutsu-Novikov), ⟨w(t) k_n⟩ = 2Tα_n ⟨∂w(t)/∂k_n⟩, and the sum over the
kicks since t_w give

    χ = (1/M) Σ_{n,i} α_n ⟨∂w_i(t)/∂k_{n,i}⟩ = Σ_n ⟨(w(t) − w'_n)·k_n⟩/(2TM),

exactly, at every α and for rates that change, with any batches (they draw nothing that depends on k). Of w'_n
only the mean is zero: it is a control variate, as in `langevin.core.dynamics.integrated_response`. The
scatter grows as √(∫ds Δ/(2TM)), with Δ the displacement, that by SGD's own noise included; relative to χ = s
at the beginning that is √(T_eff/(TM)), so that the noise serves for T not far below α D/(2B), and for s not
far beyond the relaxation.
It costs a sum for each weight; the field costs two further networks for every waiting time in progress.

With factors f_i on the rate (`parameter_groups`) both hold as they stand. A field moves weight i by α_n f_i h
in a step, and its kick has the variance 2Tα_n f_i: f_i cancels as α_n does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from langevin.core.ensemble import Ensemble
from langevin.core.protocol import Protocol as BathProtocol
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes
from langevin.errors import UserError
from langevin.machine.memory import SMALL, or_shards, shards_by_replica

from ..descent.stacks import stack_size
from ..descent.state import NetworkState
from ..descent.training import Problem
from ..keys import Descent
from .fields import FromField
from .kicks import FromNoise
from .windows import Advance, Windows

#: For the file: what the response was measured from.
_FROM_NOISE = "thermal noise of the steps"
_FROM_FIELD = "two copies of each replica in the fields ±h, on the same batches and noise"

#: The automatic field, in units of the rms noise of a step's force.
SHARE = 0.01
#: In single precision a step in the automatic field moves by so many spacings of the largest weight.
LEAST = 16


class Response(Protocol):
    """How the response of a network is measured; nothing, where it is not."""

    def begin(self, state: NetworkState) -> NetworkState:
        """Return a start whose response is followed."""

    def load(self, saved: Mapping[str, NDArray[Any]], state: NetworkState) -> NetworkState:
        """Return a restored state with what its response follows from."""

    def advance(
        self, take: Advance, state: NetworkState, first: int, last: int, streams: Sequence[Any]
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1 in place; return what diverged, as `take` does."""

    def at_waiting(self, state: NetworkState, noise: Array) -> dict[str, Array]:
        """Return what is said where a waiting time begins, and D is this, shape (R,) each."""

    def compare(self, state: NetworkState, lag: float) -> dict[str, Array]:
        """Return the response over a lag, shape (R,) each."""


class Unmeasured:
    """No response."""

    def begin(self, state: NetworkState) -> NetworkState:
        """Return the state."""
        return state

    def load(self, saved: Mapping[str, NDArray[Any]], state: NetworkState) -> NetworkState:
        """Return the state."""
        return state

    def advance(
        self, take: Advance, state: NetworkState, first: int, last: int, streams: Sequence[Any]
    ) -> tuple[int, int] | None:
        """Take the steps."""
        return take(state, first, last, streams)

    def at_waiting(self, state: NetworkState, noise: Array) -> dict[str, Array]:
        """Return nothing."""
        return {}

    def compare(self, state: NetworkState, lag: float) -> dict[str, Array]:
        """Return nothing."""
        return {}


class Measured(Protocol):
    """What has to be known of a network."""

    dynamics: Descent
    record: Any
    ensemble: Ensemble
    problem: Problem
    device: torch.device

    def noise_of(self, state: NetworkState) -> Array:
        """Return the gradient noise D of each replica, shape (R,)."""


def measuring(network: Measured) -> Response:
    """Return how the response of a network is measured that its run file asks for.

    Raises
    ------
    UserError
        If there is no room for what it needs.
    """
    record, dynamics, ensemble = network.record, network.dynamics, network.ensemble
    if not record.response:
        return Unmeasured()
    grids = record.times, record.waiting_times, record.lags
    windows = Windows(Schedule.build(*grids, dynamics.t_max, dynamics.time_step))
    slots = sum(each == "weight" for each in network.problem.rule.optimiser.slots.values())
    weights = ensemble.size * network.problem.layout.dof
    _require_room(network, windows.most, weights, 1 + slots)
    if record.from_noise(dynamics):
        bath = dynamics.temperature
        return FromNoise(windows, 1.0 if isinstance(bath, BathProtocol) else bath)

    def strength(state: NetworkState, step: int, noise: Array | None) -> Array:
        if record.field:
            return np.full(ensemble.size, record.field)
        found = network.noise_of(state) if noise is None else noise
        rate = float(dynamics.rates.rates(step))
        variance = found / network.problem.batch_size + 2 * network.problem.rule.bath(step) / rate
        groups = network.problem.rule.groups
        # The slowest parameter must not round its steps in the field away.
        return automatic(state, variance, rate if groups is None else rate * groups.slowest)

    return FromField(windows, ensemble, strength)


def attributes(network: Measured) -> Attributes:
    """Return the attributes of what is measured besides; none without a response."""
    record, temperature = network.record, network.dynamics.temperature
    if not record.response:
        return {}
    noise = record.from_noise(network.dynamics)
    about: dict[str, Any] = {
        "long_name": "integrated response per weight",
        "units": "1",
        "conjugate": "msd",
        "spatial_dimensions": 1,
        "dof": network.problem.layout.dof,
        "method": _FROM_NOISE if noise else _FROM_FIELD,
        "theorem": "in equilibrium at temperature T, χ = msd/(2T) = (C(t_w, t_w) − C)/T",
    }
    if temperature and not isinstance(temperature, BathProtocol):
        about["temperature"] = temperature
    made = {"integrated_response": about}
    if noise:
        return made
    return made | {
        "response_nonlinearity": {
            "long_name": "difference of the responses to +h and −h over their sum",
            "units": "1",
        },
        "response_field": {"long_name": "field h of the response, a force on every weight", "units": "1"},
    }


def automatic(state: NetworkState, variance: Array, rate: float) -> Array:
    """Return a field that is small beside the noise of the force and large beside rounding, shape (R,).

    Parameters
    ----------
    state : NetworkState
    variance : ndarray, shape (R,)
        Of the force of one step, for each weight.
    rate : float
        Learning rate.
    """
    largest = state.weights.abs().amax(dim=1).double().cpu().numpy()
    spacing = torch.finfo(state.weights.dtype).eps * np.where(largest > 0, largest, 1.0)
    return np.maximum(SHARE * np.sqrt(np.maximum(variance, 0)), LEAST * spacing / rate)


def _require_room(network: Measured, most: int, weights: int, held: int) -> None:
    """Refuse what does not fit, for each waiting time in progress: two networks, or one vector of sums.

    A network has so many numbers `held` for each weight.
    """
    dynamics, record = network.dynamics, network.record
    item = 8 if dynamics.precision == "double" else 4
    copies = 2 * most * item * held
    needed = weights * (8 * (1 + most) if record.from_noise(dynamics) else copies)
    if needed <= SMALL:
        return
    on_host = network.device.type == "cpu"
    free = psutil.virtual_memory().available if on_host else torch.cuda.mem_get_info(network.device)[0]
    if needed > free:
        shards = (
            _shards(needed / network.ensemble.size, free, network.ensemble.whole.size) if on_host else None
        )
        raise UserError(
            f"record.response = true: needs {needed / 1e9:.3g} GB of memory for {most} of "
            f"record.waiting_times in progress at once, {free / 1e9:.3g} GB are free; allowed: fewer of "
            f"them, or shorter record.lags{or_shards(shards)}"
        )


def _shards(each: float, free: float, replicas: int) -> int | None:
    """Return how many shards fit, of whole stacks if that can be: so runs are cut (`Network.together`)."""
    stack = stack_size(replicas)
    return shards_by_replica(each * stack, free, -(-replicas // stack)) or shards_by_replica(
        each, free, replicas
    )
