"""A network under stochastic gradient descent: a `System` whose degrees of freedom are its weights.

Time is counted in steps. The energy is the training loss, the force minus its gradient on a mini-batch, and the
step is that of `training`. Weights, data and references stay on the device; batches are drawn by streams of each
replica. Running statistics of batch-norm are no degrees of freedom: they follow the weights, are saved with the
state, and enter neither msd nor correlation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.ensemble import Ensemble
from langevin.errors import Diverged, UserError
from langevin.keys import Section
from langevin.noise import Noise
from langevin.system import Array, Attributes

from . import batches, measurement
from .devices import explained, prepare
from .examples import Examples
from .layout import Layout, buffers_of, seeded
from .losses import Loss
from .sections import Descent, RecordDescent
from .team import Team, groups
from .training import Alone, Rule, Stacked, Unit, chunk, first_bad


@dataclass(frozen=True)
class NetworkState:
    """Weights and what else the next step needs.

    Attributes
    ----------
    weights : Tensor, shape (R, M)
    velocity : Tensor, shape (R, M), or None
        With momentum only.
    buffers : list of Tensor, shape (R, …) each
        Running statistics, in the module's order.
    memory : ndarray of int8, shape (R, P) or (R, 0)
        Who is in the batch, where batches are persistent.
    """

    weights: Tensor
    velocity: Tensor | None
    buffers: list[Tensor]
    memory: NDArray[np.int8]


class Reference:
    """Weights kept at a waiting time, on their device; `numpy.asarray` copies them to the host."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the weights, shape (R, M)."""
        return np.asarray(self.weights.cpu().numpy(), dtype=dtype)


class Network:
    """Base of all network systems; a subclass says how the module is built and which loss it descends."""

    time_step: ClassVar[float] = 1.0
    Parameters: ClassVar[type[Section]]
    Dynamics: ClassVar[type[Descent]] = Descent
    Record: ClassVar[type[RecordDescent]] = RecordDescent
    data: ClassVar[str] = "mnist"

    def __init__(
        self, parameters: Any, dynamics: Descent, ensemble: Ensemble, data: Any, record: Any
    ) -> None:
        self.parameters, self.dynamics, self.ensemble = parameters, dynamics, ensemble
        self.shape, self.classes = tuple(data.train.inputs.shape[1:]), data.classes
        self.device = prepare(dynamics.device, dynamics.deterministic)
        self.dtype = torch.float32 if dynamics.precision == "single" else torch.float64
        self.loss = Loss(self.loss_name, data.classes)
        with explained():
            self._load(data, record)
            modules = [self._module(k) for k in ensemble.replica]
            self.layout = Layout(modules[0])
            self._check(modules[0])
            self._employ(modules)

    # What a subclass says.

    @property
    def loss_name(self) -> str:
        """Name of the loss, as `system.loss` gives it."""
        return "cross_entropy"

    def build(self) -> nn.Module:
        """Return a new network for inputs of `self.shape` and `self.classes` classes."""
        raise NotImplementedError

    # Preparation.

    def _load(self, data: Any, record: Any) -> None:
        """Bring the data set to the device and choose the subsets that are measured."""
        size = {len(rows) for rows in data.rows.values()}.pop()
        if self.dynamics.batches != "full" and self.dynamics.batch_size > size:
            raise UserError(
                f"dynamics.batch_size = {self.dynamics.batch_size}: must be ≤ {size}, the training examples of "
                f"data.name = {data.name!r}"
            )
        self.train, self.test = (
            Examples(part.inputs, part.labels, data.scale, data.shift, self.device, self.dtype)
            for part in (data.train, data.test)
        )
        self.rows, self.examples = data.rows, size
        self._measured = {s: self._subset(rows, record.energy_examples, s) for s, rows in data.rows.items()}
        self._tested = {
            s: self._subset(rows, record.energy_examples, s) for s, rows in data.test_rows.items()
        }
        self._probed = {s: index[: record.gradient_examples] for s, index in self._measured.items()}
        if record.gradient_examples > len(next(iter(self._measured.values()))):
            self._probed = {
                s: self._subset(rows, record.gradient_examples, s) for s, rows in data.rows.items()
            }

    def _subset(self, rows: NDArray[np.int64], count: int, sample: int) -> Tensor:
        """Return `count` of the rows, drawn by the sample's stream; all of them if there are no more."""
        order = self.ensemble.quenched("measured", sample).permutation(len(rows))
        return self.train.upload(rows[order[:count]])

    def _module(self, replica: int) -> nn.Module:
        """Return replica's network as it starts."""
        seed = int(self.ensemble.quenched("start", replica).integers(2**63))
        return seeded(self.build, seed).to(self.device, self.dtype)

    def _check(self, module: nn.Module) -> None:
        """Make sure that data and network fit: inputs, classes, nothing random inside."""
        if self.layout.dof == 0:
            raise UserError(f"system: {type(module).__name__} has no trainable parameters")
        random = [m for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
        if random:
            raise UserError(
                f"system: {type(module).__name__} contains {type(random[0]).__name__}: allowed: modules whose "
                "output follows from weights and inputs alone (set p = 0)"
            )
        inputs, labels = self.train.gather(torch.arange(2, device=self.device) % len(self.train))
        wanted = "×".join(str(n) for n in self.shape)
        module.eval()
        try:
            outputs = module(inputs)
        except (RuntimeError, ValueError, TypeError) as error:
            said = str(error).splitlines()[0]
            raise UserError(f"system: the network does not take inputs of shape {wanted}: {said}") from None
        module.train()
        if outputs.ndim != 2 or outputs.shape[0] != 2 or outputs.shape[1] < self.classes:
            raise UserError(
                f"system: the network gives outputs of shape {tuple(outputs.shape)} for a batch of 2; needed: "
                f"(2, {self.classes}), one for each class"
            )
        self.loss.classes = outputs.shape[1]

    def _employ(self, modules: list[nn.Module]) -> None:
        """Deal the replicas over units, and prepare the units."""
        keys = self.dynamics
        self.batches = batches.make(
            keys.batches, self.examples, keys.batch_size, keys.persistence, self.ensemble
        )
        self.batch_size = self.batches.size
        self._momentum = keys.momentum > 0
        rule = Rule(keys.learning_rate, keys.momentum, keys.weight_decay, keys.temperature)
        buffered = any(True for _ in modules[0].buffers())
        stackable = not buffered and self.batches.fixed and not list_frozen(modules[0])
        execution = keys.execution if stackable else "sequential"
        kind = self.device.type
        self.groups = groups(len(modules), self.layout.dof, execution, kind)
        common = (self.layout, self.loss, self.train, self.batch_size)
        self.units: list[Unit] = []
        self.probes: list[Alone] = []
        for group in self.groups:
            alone = Alone(modules[group[0]], *common, 1, rule)
            self.probes.append(alone)
            if len(group) > 1:
                self.units.append(Stacked(modules[group[1]], *common, len(group), rule))
            else:
                self.units.append(alone)
        work = self.layout.dof * self.batch_size
        self.team = Team(len(self.groups), self.ensemble.threads, work, kind)

    # The system.

    def initial_state(self, noise: Noise) -> NetworkState:
        """Return the networks as PyTorch initialises them, each replica from its own seed."""
        modules = [self._module(k) for k in self.ensemble.replica]
        weights = torch.stack([self.layout.of(m) for m in modules])
        buffers = [torch.stack(rows) for rows in zip(*(buffers_of(m) for m in modules), strict=True)]
        memory = np.stack(
            [
                self.batches.start(int(k), s)
                for k, s in zip(self.ensemble.replica, self._streams(noise), strict=True)
            ]
        )
        return NetworkState(weights, torch.zeros_like(weights) if self._momentum else None, buffers, memory)

    def _streams(self, noise: Noise) -> list[np.random.Generator] | list[None]:
        """Return the streams of batches that depend on those before; none for the others."""
        return [None] * self.ensemble.size if self.batches.fixed else noise.streams("batch")

    def advance(self, state: NetworkState, t0: float, t1: float, noise: Noise) -> NetworkState:
        """Take the steps from t0 to t1. Raises `Diverged` at a loss that is not a number."""
        first, last = round(t0), round(t1)
        memory = state.memory.copy()
        batch_streams = self._streams(noise)
        thermal = noise.streams("thermal") if self.dynamics.temperature else [None] * self.ensemble.size

        def carry(number: int) -> list[tuple[int, int]]:
            group = self.groups[number]
            self._enter(number, state)
            return [
                (step, group[row])
                for step, row in self._steps(number, memory, first, last, batch_streams, thermal)
            ]

        with explained():
            bad = [b for found in self.team.map(carry, range(len(self.units))) for b in found]
            if bad:
                step, position = min(bad)
                raise Diverged(
                    f"the loss of replica {self.ensemble.replica[position]} is not a number at step {step}; try a "
                    f"smaller dynamics.learning_rate (now {self.dynamics.learning_rate:g})"
                )
            return self._leave(memory)

    def _steps(
        self,
        number: int,
        memory: NDArray[np.int8],
        first: int,
        last: int,
        batch_streams: list[Any],
        thermal: list[Any],
    ) -> list[tuple[int, int]]:
        """Let one unit take its steps; return (step, row) of the first loss that is not finite, if any."""
        unit, group = self.units[number], self.groups[number]
        labels = [int(self.ensemble.replica[p]) for p in group]
        rows = [self.rows[int(self.ensemble.sample[p])] for p in group]
        for start, stop in chunk(first, last, self.batch_size):
            drawn = [
                self.batches.draw(k, memory[p], start, stop, batch_streams[p])
                for k, p in zip(labels, group, strict=True)
            ]
            losses = []
            for index in self._uploaded(drawn, rows):
                losses.append(unit.step(index))
                if thermal[0] is not None:
                    unit.kick(self._kicks(unit, [thermal[p] for p in group]))
            bad = first_bad(torch.stack(losses))
            if bad is not None:
                return [(start + int(bad[0]), int(bad[1]))]
        return []

    def _uploaded(self, drawn: list[Any], rows: list[NDArray[np.int64]]) -> Iterable[Tensor]:
        """Yield the batches of every step, shape (r, B), on the device; at once for all steps if they are equal."""
        if self.batches.fixed:
            table = np.stack([r[np.stack(list(d))] for d, r in zip(drawn, rows, strict=True)], axis=1)
            yield from self.train.upload(table)
        else:
            for index in drawn[0]:
                yield self.train.upload(rows[0][index][None])

    def _kicks(self, unit: Unit, streams: list[np.random.Generator]) -> Tensor:
        kind = np.float32 if self.dtype == torch.float32 else np.float64
        rows = [s.standard_normal(self.layout.dof, dtype=kind) for s in streams]
        return torch.from_numpy(np.stack(rows)).to(self.device)

    def _enter(self, number: int, state: NetworkState) -> None:
        """Load the state of a unit's replicas into its working copy."""
        unit, group = self.units[number], self.groups[number]
        rows = slice(group[0], group[-1] + 1)
        with torch.no_grad():
            unit.weights.copy_(state.weights[rows])
            if unit.velocity is not None and state.velocity is not None:
                unit.velocity.copy_(state.velocity[rows])
            # Copied into place: a captured step knows its tensors by their addresses.
            for own, saved in zip(unit.module.buffers(), state.buffers, strict=True):
                own.copy_(saved[group[0]])

    def _leave(self, memory: NDArray[np.int8]) -> NetworkState:
        """Return what the units' working copies hold, as a new state."""
        weights = torch.cat([u.weights.detach() for u in self.units])
        velocity = (
            torch.cat([u.velocity for u in self.units if u.velocity is not None]) if self._momentum else None
        )
        each = [list(u.module.buffers()) for u in self.units]
        buffers = [torch.stack([b.clone() for b in rows]) for rows in zip(*each, strict=True)]
        return NetworkState(weights, velocity, buffers, memory)

    # Measurements.

    def measure(self, state: NetworkState) -> dict[str, Array]:
        """Return loss and accuracy on training and test set, and the norm of the gradient."""

        def task(number: int) -> Array:
            self._enter(number, state)
            unit, found = self.units[number], []
            for position in self.groups[number]:
                found.append(self._measure_one(number, position))
            return np.array(found).T

        with explained():
            columns = np.concatenate(self.team.map(task, range(len(self.units))), axis=1)
        names = ("energy", "train_accuracy", "test_loss", "test_accuracy", "gradient_norm")
        return dict(zip(names, columns, strict=True))

    def _measure_one(self, number: int, position: int) -> tuple[float, ...]:
        sample = int(self.ensemble.sample[position])
        probe = self._probe(number, position)
        train = measurement.loss_and_accuracy(probe, self.loss, self.train, self._measured[sample])
        test = measurement.loss_and_accuracy(probe, self.loss, self.test, self._tested[sample])
        norm = measurement.gradient_norm(probe, self._probed[sample])
        return (*train[:, 0], *test[:, 0], norm)

    def _probe(self, number: int, position: int) -> Alone:
        """Return a unit that holds one replica alone, as it was loaded."""
        probe, unit = self.probes[number], self.units[number]
        if probe is not unit:
            with torch.no_grad():
                probe.weights[0].copy_(unit.weights[position - self.groups[number][0]])
        return probe

    def at_waiting(self, state: NetworkState) -> dict[str, Array]:
        """Return the gradient noise D and its standard error."""

        def task(number: int) -> list[tuple[float, float]]:
            self._enter(number, state)
            found = []
            for position in self.groups[number]:
                probe = self._probe(number, position)
                noise = measurement.gradient_noise(probe, self._probed[int(self.ensemble.sample[position])])
                found.append((noise.value, noise.error))
            return found

        with explained():
            rows = [row for found in self.team.map(task, range(len(self.units))) for row in found]
        value, error = np.array(rows).T
        return {"gradient_noise": value, "gradient_noise_error": error}

    def reference(self, state: NetworkState) -> Reference:
        """Return the weights."""
        return Reference(state.weights)

    def load_reference(self, saved: NDArray[Any]) -> Reference:
        """Return the reference that `numpy.asarray` made an array of."""
        return Reference(torch.from_numpy(saved).to(self.device))

    def compare(self, reference: Reference, state: NetworkState) -> dict[str, Array]:
        """Return msd Δ = (1/M) Σ (w_i − w_i')² and correlation (1/M) Σ w_i w_i', shape (R,).

        The difference of two single precision numbers is taken, squared and summed in double precision; from
        |w|² + |w'|² − 2 w·w' nothing would be left of a small Δ.
        """
        rows = [_compare(a, b) for a, b in zip(reference.weights, state.weights, strict=True)]
        msd, correlation = np.array(rows).T
        return {"msd": msd, "correlation": correlation}

    def configuration(self, state: NetworkState) -> Array:
        """Return the weights in double precision, shape (R, M)."""
        return state.weights.cpu().numpy().astype(np.float64)

    @property
    def dof(self) -> int:
        """Number of degrees of freedom M."""
        return self.layout.dof

    def attributes(self) -> Attributes:
        """Return the attributes of everything that a network measures."""
        count = {
            "train": len(next(iter(self._measured.values()))),
            "test": len(next(iter(self._tested.values()))),
        }
        probed = len(next(iter(self._probed.values())))
        own: dict[str, dict[str, Any]] = {
            "energy": {"long_name": f"training loss ({self.loss.name})", "examples": count["train"]},
            "test_loss": {"long_name": f"test loss ({self.loss.name})", "examples": count["test"]},
            "train_accuracy": {"long_name": "training accuracy", "examples": count["train"]},
            "test_accuracy": {"long_name": "test accuracy", "examples": count["test"]},
            "gradient_norm": {"long_name": "norm of the loss's gradient", "examples": probed},
            "gradient_noise": {
                "long_name": "gradient noise D: variance of the per-sample gradient, per weight",
                "examples": probed,
                "learning_rate": self.dynamics.learning_rate,
                "batch_size": self.batch_size,
            },
            "gradient_noise_error": {"long_name": "standard error of the gradient noise"},
            "msd": {"long_name": "mean square displacement per weight", "dof": self.dof},
            "correlation": {"long_name": "two-time correlation per weight", "dof": self.dof},
        }
        return {name: {"units": "1", **about} for name, about in own.items()}

    def coordinates(self, schedule: Any) -> dict[str, tuple[str, Array, dict[str, str]]]:
        """Return time, waiting time and lag times the learning rate: the time of gradient flow."""
        rate = self.dynamics.learning_rate
        return {
            f"scaled_{name}": (
                name,
                rate * getattr(schedule, plural),
                {"long_name": f"{name.replace('_', ' ')} times learning rate", "units": "1"},
            )
            for name, plural in (("time", "times"), ("waiting_time", "waiting_times"), ("lag", "lags"))
        }

    # Restart.

    def state_dict(self, state: NetworkState) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state."""
        saved: dict[str, NDArray[Any]] = {"weights": state.weights.cpu().numpy(), "memory": state.memory}
        if state.velocity is not None:
            saved["velocity"] = state.velocity.cpu().numpy()
        return saved | {f"buffer_{i}": b.cpu().numpy() for i, b in enumerate(state.buffers)}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> NetworkState:
        """Return the state that `state_dict` saved."""

        def back(name: str) -> Tensor:
            return torch.from_numpy(np.array(saved[name])).to(self.device)

        count = sum(name.startswith("buffer_") for name in saved)
        return NetworkState(
            back("weights"),
            back("velocity") if self._momentum else None,
            [back(f"buffer_{i}") for i in range(count)],
            np.array(saved["memory"], dtype=np.int8),
        )


def list_frozen(module: nn.Module) -> list[str]:
    """Return the names of parameters that do not move: each replica keeps its own, so they cannot be stacked."""
    return [n for n, p in module.named_parameters() if not p.requires_grad]


def _compare(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Return the mean of (a − b)² and of a b, in double precision."""
    if a.device.type == "cpu":
        x, y = a.numpy().astype(np.float64), b.numpy().astype(np.float64)
        difference = x - y
        return float(np.mean(difference * difference)), float(np.mean(x * y))
    msd = correlation = 0.0
    for x, y in zip(a.split(2**22), b.split(2**22), strict=True):
        x, y = x.double(), y.double()
        msd += float(torch.sum((x - y) ** 2))
        correlation += float(torch.sum(x * y))
    return msd / a.numel(), correlation / a.numel()
