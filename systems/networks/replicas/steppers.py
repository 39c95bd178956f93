"""All replicas of a system are dealt over steppers, which work on the rows of a state."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.core.ensemble import Ensemble
from langevin.core.system import Array
from langevin.machine.blas import single_blas
from langevin.machine.world import World

from ..data.batches import Batches
from ..data.examples import OnDevice
from ..data.subsets import Chosen
from ..data.views import Views
from ..descent.bends import Bends
from ..descent.perceptron import Compiled, Shape
from ..descent.shared_calls import CallPool, groups_of
from ..descent.state import NetworkState
from ..descent.training import Alone, Problem, Stacked, Stepper
from ..measure import measurement
from ..measure.layer_noise import layer_noise
from ..response.kicks import Kicks
from .divided import Divided
from .lanes import TURN, CapturedSteps, Lanes, Rows, ended

Result = TypeVar("Result")

#: The most steps whose batches are drawn, and whose losses are judged, at once; the most indices among them.
STEPS, INDICES = 256, 2**20


class ReplicaSteppers:
    """The replicas of a system in groups, a stepper for each.

    Parameters
    ----------
    modules : sequence of Module
        One for each replica, on the device.
    problem : Problem
    batches : Batches
    rows : mapping
        Label of a quenched sample → indices of its examples.
    ensemble : Ensemble
    execution : {"auto", "sequential", "stacked"}
    capture : bool
        Whether a GPU's steps are captured in CUDA graphs.
    work : int
        Multiplications for one example, roughly.
    shape : Shape or None
        Of a net whose steps are to be compiled.
    views : Views or None
        Of the examples of every batch, if they are `Augmented`.
    bends : Bends or None
        Of curves, if it is these that move.
    world : World or None
        Processes that share every batch.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        problem: Problem,
        batches: Batches,
        rows: Mapping[int, NDArray[np.int64]],
        ensemble: Ensemble,
        execution: str,
        capture: bool,
        work: int,
        shape: Shape | None = None,
        views: Views | None = None,
        bends: Bends | None = None,
        world: World | None = None,
    ) -> None:
        self.views, self.bends = views, bends
        self.problem, self.batches, self.rows, self.ensemble = problem, batches, rows, ensemble
        dof = problem.layout.dof
        self.device = problem.examples.device
        self.groups = groups_of(ensemble, dof, execution, self.device.type)
        self.steppers: list[Stepper] = []
        self.probes: list[Alone] = []
        self._compiled = shape is not None
        for group in self.groups:
            first = modules[group[0]]
            alone = Compiled(first, problem, shape) if shape else Alone(first, problem)
            if world is not None:
                alone = Divided(first, problem, world)
            self.probes.append(alone)
            if bends is not None:
                self.steppers.append(bends.stepper(alone, group[0]))
            else:
                self.steppers.append(Stacked(modules[group[1]], problem) if len(group) > 1 else alone)
        self.calls = CallPool(len(self.groups), ensemble.threads, work * batches.size, self.device.type)
        fixed = batches.fixed and not (problem.rule.warm or problem.rule.rests)
        # Uniform along a curve, a step has to know the curve's length.
        fixed = fixed and (bends is None or bends.draws == 1)
        # A graph cannot gather on the host.
        capturable = capture and self.device.type == "cuda" and not problem.examples.on_host
        capturable = capturable and not problem.traits.reassigns
        fixed = fixed and problem.rule.optimiser.kernel_momentum is not None
        self._lanes = Lanes(len(self.groups), self.device) if self.device.type == "cuda" else None
        if self._lanes and capturable:
            for number, probe in enumerate(self.probes):
                probe.lane = partial(self._lanes.of, number)
        self._captured = CapturedSteps(self._lanes) if self._lanes and capturable and fixed else None

    @property
    def couples(self) -> bool:
        """Whether one example's loss depends on the others of its batch."""
        return self.probes[0].couples

    def _carry(self, task: Callable[[int], Result]) -> list[Result]:
        """Return task(number) for every group, side by side where that pays."""
        with single_blas() if self._compiled else nullcontext():
            return self.calls.map(task, range(len(self.steppers)))

    def load(self, number: int, state: NetworkState, field: Tensor | None = None) -> None:
        """Let a group's stepper work on its rows of a state, in place; steps that are captured, on a copy.

        A constant force, shape (R, M), is added to that of its steps.
        """
        stepper, group = self.steppers[number], self.groups[number]
        rows = self._rows(number, state)
        with torch.no_grad():
            if self._captured is not None:
                self._captured.bind(number, stepper, rows)
            else:
                stepper.bind(*rows)
            stepper.push(None if field is None else field[self._slice(number)])
            for own, saved in zip(stepper.beside, state.buffers, strict=False):
                own.copy_(saved[group[0]])

    def _store(self, number: int, state: NetworkState) -> None:
        """Bring what a group's stepper has changed back to the state from which it was loaded."""
        with torch.no_grad():
            if self._captured is not None:
                self._captured.store(number, self._rows(number, state))
            for own, saved in zip(self.steppers[number].beside, state.buffers, strict=False):
                saved[self.groups[number][0]].copy_(own)

    def _rows(self, number: int, state: NetworkState) -> Rows:
        """Return the weights and slots of a group's replicas in a state."""
        rows = self._slice(number)
        return state.weights[rows], {name: slot[rows] for name, slot in state.slots.items()}

    def _slice(self, number: int) -> slice:
        """Return the rows of a group's replicas."""
        return slice(self.groups[number][0], self.groups[number][-1] + 1)

    def probe(self, number: int, position: int) -> Alone:
        """Return a stepper that holds the replica at `position` alone, as its group was loaded."""
        probe, stepper = self.probes[number], self.steppers[number]
        if probe is not stepper:
            place = position - self.groups[number][0]
            probe.bind(stepper.weights[place : place + 1])
        return probe

    def advance(
        self, state: NetworkState, first: int, last: int, streams: Sequence[Any], field: Tensor | None = None
    ) -> tuple[int, int] | None:
        """Take the steps first … last − 1, in place.

        Parameters
        ----------
        state : NetworkState
        first, last : int
        streams : sequence
            For each replica the stream of batches that depend on those before.
        field : Tensor, shape (R, M), optional
            A constant force besides.

        Returns
        -------
        (int, int) or None
            Step and replica's position of the first loss that is not finite; what follows it is not computed.
        """

        def task(number: int) -> Generator[None, None, tuple[int, int] | None]:
            self.load(number, state, field)
            end = yield from self._steps(number, first, last, state, streams)
            self._store(number, state)
            return end

        if self._lanes is None:
            ends = self._carry(lambda number: ended(task(number)))
        else:
            ends = self._lanes.take_turns([task(number) for number in range(len(self.steppers))])
        return min((end for end in ends if end is not None), default=None)

    def measure(self, state: NetworkState, train: OnDevice, test: OnDevice, chosen: Chosen) -> Array:
        """Return what `measurement.MEASURED` names, shape (numbers, R)."""

        def one(probe: Alone, label: int) -> tuple[float, ...]:
            trained = measurement.loss_and_accuracy(probe, train, chosen.trained[label])
            tested = measurement.loss_and_accuracy(probe, test, chosen.tested[label])
            return (*trained, *tested, *measurement.gradient_norm(probe, chosen.probed[label]))

        return self._each(one, state)

    def gradient_noise(self, state: NetworkState, chosen: Chosen) -> Array:
        """Return the gradient noise and its standard error, shape (2, R)."""
        return self._each(lambda p, label: measurement.gradient_noise(p, chosen.probed[label]), state)

    def layer_noise(self, state: NetworkState, chosen: Chosen) -> Array:
        """Return the gradient noise of every layer and its standard error, shape (2, R, layers)."""

        def one(probe: Alone, label: int) -> tuple[float, ...]:
            return tuple(layer_noise(probe, chosen.probed[label]).ravel())

        return np.moveaxis(self._each(one, state).reshape(2, -1, self.ensemble.size), 1, 2)

    def _each(self, one: Callable[[Alone, int], tuple[float, ...]], state: NetworkState) -> Array:
        """Return one(probe, label) of every replica, shape (numbers, R)."""

        def task(number: int) -> list[tuple[float, ...]]:
            self.load(number, state)
            return [
                one(self.probe(number, position), int(self.ensemble.replica[position]))
                for position in self.groups[number]
            ]

        return np.array([row for rows in self._carry(task) for row in rows]).T

    def _steps(
        self, number: int, first: int, last: int, state: NetworkState, streams: Sequence[Any]
    ) -> Generator[None, None, tuple[int, int] | None]:
        """Let a loaded stepper take the steps first … last − 1; return what `advance` returns.

        After a few steps it is another one's turn.
        """
        group = self.groups[number]
        most = max(1, min(STEPS, INDICES // self.batches.size))
        for start in range(first, last, most):
            stop = min(start + most, last)
            losses = yield from self._chunk(number, start, stop, state, streams)
            bad = ~torch.isfinite(losses)
            if bool(bad.any()):
                step, row = bad.nonzero()[0].tolist()
                return start + step, group[row]
        return None

    def _chunk(
        self, number: int, start: int, stop: int, state: NetworkState, streams: Sequence[Any]
    ) -> Generator[None, None, Tensor]:
        """Take some steps, return their losses, shape (steps, r)."""
        stepper, group = self.steppers[number], self.groups[number]
        losses, step = [], start
        alone = self._lanes is None or self._lanes.count == 1
        for batches in self._batches(group, start, stop, state.memory, streams):
            rates = self.problem.rule.schedule.between(step, step + len(batches))
            run = stepper.run
            if self._captured is not None:
                run = self._captured.of(number, stepper, batches[0], rates)
            for turn in range(0, len(batches), len(batches) if alone else TURN):
                part = slice(turn, len(batches) if alone else turn + TURN)
                losses.append(run(batches[part], rates[part]))
                yield
            rule = self.problem.rule
            if rule.warm:
                with torch.no_grad():
                    drawn, rate = self._thermal(group, step, stepper.weights.dtype), float(rates[0])
                    if isinstance(state.response, Kicks):
                        width = rule.conjugate(rate, step)
                        state.response.add(self._slice(number), stepper.weights, drawn, width)
                    stepper.kick(drawn, rule.kick(rate, step))
            step += len(batches)
        return torch.cat(losses)

    def _batches(
        self, group: range, start: int, stop: int, memory: NDArray[np.int8], streams: Sequence[Any]
    ) -> Iterator[Tensor]:
        """Yield batches, shape (steps, r, B), on the device: of all steps that one call can take."""
        labels, samples = self.ensemble.replica, self.ensemble.sample
        rows = [self.rows[int(samples[p])] for p in group]
        upload = self.problem.examples.upload
        if self.batches.fixed:
            drawn = [self.batches.table(int(labels[p]), start, stop) for p in group]
            chosen = np.stack([r[d] for r, d in zip(rows, drawn, strict=True)], axis=1)
            if self.views is not None:
                chosen += np.stack([self.views.table(int(labels[p]), start, stop) for p in group], axis=1)
            if self.bends is not None:
                chosen = self.bends.append(chosen, int(labels[group[0]]), start)
            batches = upload(chosen)
            yield from torch.split(batches, 1) if self.problem.rule.warm else (batches,)
        else:
            (p,) = group
            label = int(labels[p])
            inside = self.batches.draw(label, memory[p], start, stop, streams[p])
            for step, index in enumerate(inside, start):
                one = rows[0][index]
                if self.views is not None:
                    one += self.views.of(label, step, len(one))
                batch = one[None, None]
                yield upload(batch if self.bends is None else self.bends.append(batch, label, step))

    def _thermal(self, group: range, step: int, dtype: torch.dtype) -> Tensor:
        """Return the normals of one step, shape (r, M), from the stream of (seed, replica, step).

        They are standard normals, times √f where a parameter's rate has a factor f.
        """
        dof = self.problem.layout.dof * (1 if self.bends is None else self.bends.bends)
        streams = [self.ensemble.driving("thermal", int(self.ensemble.replica[p]), step) for p in group]
        if self.device.type == "cpu":
            kind = np.float32 if dtype == torch.float32 else np.float64
            drawn = np.stack([s.standard_normal(dof, dtype=kind) for s in streams])
            return self.problem.rule.spread(torch.from_numpy(drawn))
        # Eleven million numbers a step are drawn where they are needed; the stream gives the seed.
        generator = torch.Generator(self.device)
        rows = []
        for stream in streams:
            generator.manual_seed(int(stream.integers(2**63)))
            rows.append(torch.randn(dof, generator=generator, dtype=dtype, device=self.device))
        return self.problem.rule.spread(torch.stack(rows))
