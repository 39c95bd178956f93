"""A network under stochastic gradient descent: a `System` whose degrees of freedom are its weights.

Time is counted in steps. The energy is the training loss, the force minus its gradient on a mini-batch, and
the step is that of `training`. Weights, data and references stay on the device; batches are drawn by streams
of each replica. Running statistics of batch-norm are no degrees of freedom: they follow the weights, are
saved with the state, and enter neither msd nor correlation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import Section
from langevin.core.attraction import pulled
from langevin.core.capabilities import (
    BeginsFromConfiguration,
    ChecksSettings,
    Classifies,
    ComparesAtLag,
    HasCoordinates,
    HasFurtherDimensions,
    HasGaussNewton,
    HasHessian,
    HasLandscape,
    HasMinima,
    HasParts,
    HasRecordKeys,
    JoinedByCurves,
    KeepsTogether,
    LearnsFromData,
    LoadsReferences,
    MeasuresAtWaiting,
    MeasuresResponse,
    MovesInPlace,
    RunsOnDevice,
    SharesBatches,
    StandsBeside,
    Verifies,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Beside, Coordinates, Dimensions, Part, Predictions, System
from langevin.errors import Diverged, UserError
from langevin.machine.later import later

from .assembly import Assembly
from .data.base import Data
from .descent.stacks import stack_size
from .keys import Descent, RecordDescent, RecordNetwork
from .measure.measured import measured_attributes, step_attributes
from .schedules import scaled_times

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from . import kit
    from .measure.landscape import Seen
else:
    torch, kit = later("torch"), later(f"{__package__}.kit")

#: Multiplications that it may take to verify what is stored; by which part, and by how much, an energy may
#: differ: another processor's or a GPU's sums in single precision differ by less.
VERIFIED, SAME, LEAST = 10**10, 1e-3, 1e-6

#: Losses that need not be looked for.
USUAL = ("cross_entropy", "mse_loss")


def descent_faults(settings: Any) -> Iterable[str]:
    """Yield the faults of [dynamics] and [record] of everything that descends the loss of a network."""
    yield from settings.dynamics.faults()
    if isinstance(settings.record, RecordNetwork):
        yield from settings.record.faults(settings.dynamics)


class Descending(
    System,
    ChecksSettings,
    HasRecordKeys,
    BeginsFromConfiguration,
    MovesInPlace,
    LoadsReferences,
    RunsOnDevice,
    HasFurtherDimensions,
    HasCoordinates,
):
    """Base of all that descends the loss of a network, by the steps of `training`."""

    time_step = 1.0
    dof: int
    device: torch.device
    dynamics: Descent
    ensemble: Ensemble
    Dynamics: ClassVar[type[Descent]] = Descent

    def advance(self, state: kit.NetworkState, t0: float, t1: float, noise: Noise) -> kit.NetworkState:
        """Take the steps from t0 to t1. Raises `Diverged` at a loss that is not a number."""
        return self.move(state.copy(), t0, t1, noise)

    def _diverged(self, where: str, step: int, position: int) -> Diverged:
        return Diverged(
            f"the loss {where} {self.ensemble.replica[position]} is not a finite number at step {step}; "
            f"try a smaller dynamics.learning_rate (now {self.dynamics.learning_rate:g})"
        )

    def reference(self, state: kit.NetworkState) -> kit.Reference:
        """Return a copy of what descends."""
        return kit.Reference(state.weights.clone())

    def load_reference(self, saved: NDArray[Any]) -> kit.Reference:
        """Return the reference that `numpy.asarray` made an array of."""
        return kit.Reference(torch.from_numpy(saved).to(self.device))

    def configuration(self, state: kit.NetworkState) -> NDArray[Any]:
        """Return what descends, shape (R, dof)."""
        return state.weights.cpu().numpy()

    def state_dict(self, state: kit.NetworkState) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state."""
        return state.saved()


class Network(
    Assembly,
    Descending,
    LearnsFromData,
    StandsBeside,
    Verifies,
    JoinedByCurves,
    MeasuresAtWaiting,
    MeasuresResponse,
    ComparesAtLag,
    HasLandscape,
    HasMinima,
    HasHessian,
    HasGaussNewton,
    HasParts,
    Classifies,
    KeepsTogether,
    SharesBatches,
):
    """Base of all network systems; a subclass says how the module is built and which loss it descends."""

    Parameters: ClassVar[type[Section]]
    Record: ClassVar[type[RecordDescent]] = RecordNetwork
    data: ClassVar[str] = "mnist"
    connected_by: ClassVar[str] = "network_curve"

    def __init__(
        self, parameters: Any, dynamics: Descent, ensemble: Ensemble, data: Data, record: RecordDescent
    ) -> None:
        super().__init__(parameters, dynamics, ensemble, data, record)
        self.dof = self.layout.dof
        self.device_name = kit.name_of(self.device)
        if self.world is not None and self.device.type == "cuda":
            self.device_name = f"{self.world.size} × {self.device_name}"
        self.response = kit.measured_response.measuring(self)
        if ensemble.run is not None:
            # A shard that tears calls apart is refused before anything is computed.
            kit.groups_of(ensemble, self.dof, self._execution, self.device.type)

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield the faults that several keys together show."""
        yield from descent_faults(settings)
        if getattr(settings.system, "loss", USUAL[0]) not in USUAL:
            try:
                kit.find_loss(settings.system.loss, settings.folder)
            except UserError as error:
                yield str(error)

    @classmethod
    def together(cls, settings: Any) -> list[NDArray[np.int64]]:
        """Keep replicas together that may share calls on a processor; where they do not, none need to."""
        replica, dynamics = np.arange(settings.ensemble.replicas), settings.dynamics
        if dynamics.attraction is not None:
            return [np.zeros_like(replica)]
        if dynamics.execution == "sequential" or dynamics.device not in ("cpu", "auto"):
            return [replica]
        return [replica // stack_size(len(replica)), replica]

    # The system.

    def initial_state(self, noise: Noise) -> kit.NetworkState:
        """Return the networks as PyTorch initialises them, each replica from its own seed."""
        rows, values = [], []
        for k in self.ensemble.replica:
            module = self.built(k)
            rows.append(self.layout.of(module))
            values.append(kit.copies(list(kit.beside(module).values())))
        weights, buffers = torch.stack(rows), kit.stacked(values)
        slots = self.problem.rule.optimiser.start(weights, len(self.layout.blocks))
        return self.response.begin(kit.NetworkState(weights, slots, buffers, self.first_batches(noise)))

    def begun_from(self, state: kit.NetworkState, x: Array) -> kit.NetworkState:
        """Return the start with the weights x, shape (R, M), and what was stored beside them.

        Of files that hold nothing beside them, running statistics are computed anew at these weights.
        """
        with self.computing():
            known, places = self.companions.recalled, range(self.ensemble.size)
            examples = [None if known else self._learned(position) for position in places]
            return self.landscape.begun(state, x, self.companions.values, examples)

    def beside(self, state: kit.NetworkState) -> Beside:
        """Return frozen parameters and buffers of all replicas."""
        return self.companions.packed(state.buffers)

    @property
    def beside_sizes(self) -> tuple[int, int]:
        """How many numbers of a replica stand beside its weights: that never change, that change."""
        packed = self.companions.packed([v[None] for v in self.companions.values[0]])
        return packed.fixed.shape[1], packed.moving.shape[1]

    def recall(self, beside: Beside) -> None:
        """Take from a file what stood beside the weights of these replicas."""
        self.companions.recall(beside)

    def move(self, state: kit.NetworkState, t0: float, t1: float, noise: Noise) -> kit.NetworkState:
        """Take the steps from t0 to t1, in place: of the weights of large nets one copy is enough."""
        first, last = round(t0), round(t1)
        with self.watched():
            bad = self.response.advance(self._take, state, first, last, self.streams(noise))
            if bad is not None:
                raise self._diverged("of replica", *bad)
            if self.world is not None:
                self.world.require_same(state.weights, "the weights")
            unfit = kit.first_not_finite(state.weights)
            if unfit is not None:
                raise self._diverged("of replica", last, unfit)
            return state

    def _take(
        self,
        state: kit.NetworkState,
        first: int,
        last: int,
        streams: Sequence[Any],
        field: Tensor | None = None,
    ) -> tuple[int, int] | None:
        """Take steps in place, with the pulls of replicas that attract each other; say what diverged."""
        attraction = self.dynamics.attraction
        if attraction is None:
            return self.units.advance(state, first, last, streams, field)
        while first < last:
            end = min(last, (first // attraction.every + 1) * attraction.every)
            bad = self.units.advance(state, first, end, streams, field)
            if bad is not None:
                return bad
            if end % attraction.every == 0:
                state.weights.copy_(pulled(state.weights, self._groups, attraction.at(end)))
            first = end
        return None

    @cached_property
    def _groups(self) -> list[NDArray[np.intp]]:
        """The positions of replicas that share a centre, where they attract each other."""
        assert self.dynamics.attraction is not None
        return self.dynamics.attraction.groups(self.ensemble)

    # Measurements.

    def measure(self, state: kit.NetworkState) -> dict[str, Array]:
        """Return losses and accuracies, the norm of the gradient, and errors of means over subsets, (R,)."""
        with self.watched():
            measured = self.units.measure(state, self.train, self.test, self.chosen)
            counted = kit.gaps.counted(self, state) if self.loss.signed else {}
        left_out = self.chosen.exact + (() if self.loss.classified else kit.measurement.ACCURACIES)
        named = zip(kit.measurement.MEASURED, measured, strict=True)
        return {name: values for name, values in named if name not in left_out} | counted

    def at_waiting(self, state: kit.NetworkState) -> dict[str, Array]:
        """Return the gradient noise D and its standard error, shape (R,) each."""
        with self.watched():
            pair = self.units.gradient_noise(state, self.chosen)
            noise = dict(zip(("gradient_noise", "gradient_noise_error"), pair, strict=True))
            if self.record.layers:
                parts = self.probing.layer_noise(state, self.chosen)
                noise |= {f"layer_{name}": part for name, part in zip(noise, parts, strict=True)}
            return noise | self.response.at_waiting(state, pair[0])

    def noise_of(self, state: kit.NetworkState) -> Array:
        """Return the gradient noise D alone, shape (R,)."""
        return self.units.gradient_noise(state, self.chosen)[0]

    @cached_property
    def landscape(self) -> kit.Landscape:
        """What evaluates a network at any weights."""
        module = self.built(int(self.ensemble.replica[0]))
        return kit.Landscape(module, self.problem, self.test, self.work, self.ensemble.threads)

    def see(self, x: Tensor | Array, position: int, stored: bool = False) -> tuple[Seen, Seen]:
        """Return what the network makes of its measured training and test examples at any weights.

        Batch-norm has statistics of these weights, from the measured training examples.

        Parameters
        ----------
        x : Tensor or ndarray, shape (M,)
        position : int
            Of the replica that is measured on these examples.
        stored : bool
            Whether x was stored with what was recalled: batch-norm has the statistics of the run then.
        """
        label = int(self.ensemble.replica[position])
        with self.computing():
            learned = self._learned(position)
            self.landscape.go_to(x, self.companions.values[position], None if stored else learned)
            trained = self.landscape.see(learned)
            return trained, self.landscape.see(self.chosen.tested[label].index, test=True)

    def evaluate(self, x: Array, stored: bool = False) -> dict[str, Array]:
        """Return losses and errors at any weights, shape (R, M): "energy", "train_error" and so on, (R,)."""
        rows = []
        for position, weights in enumerate(x):
            trained, tested = self.see(weights, position, stored)
            row = {"energy": trained.loss, "test_loss": tested.loss}
            if trained.wrong is not None and tested.wrong is not None:
                row |= {"train_error": trained.wrong.mean(), "test_error": tested.wrong.mean()}
            rows.append(row)
        names = [n for n in ("energy", "train_error", "test_loss", "test_error") if n in rows[0]]
        return {name: np.array([row[name] for row in rows]) for name in names}

    def predict(self, x: Tensor | Array, position: int, beside: Beside | None = None) -> Predictions | None:
        """Return what the network says of all test examples, not only those measured, at weights x, (M,).

        Batch-norm has the statistics that were stored `beside` x; without, statistics of these weights. None
        if it classifies nothing.
        """
        sample = int(self.ensemble.sample[position])
        with self.computing():
            if beside is None:
                values, learned = self.companions.values[position], self._learned(position)
                self.landscape.go_to(x, values, learned)
            else:
                self.landscape.go_to(x, self.companions.unpacked(beside, position), None)
            return self.landscape.predict(self._test_sets[sample])

    def verify(self, x: Array, energy: Array, name: str) -> None:
        """Make sure that stored weights have the energies that their run measured.

        Of modules of a user's alone, and of as many replicas as take no time. Without what stood beside the
        weights, of which running statistics follow, there is nothing to compare.
        """
        if not self.foreign or (self.traits.moving and not self.companions.recalled):
            return
        count = 1 + VERIFIED // max(1, self.work * len(self._learned(0)))
        for position, expected in enumerate(energy[:count]):
            here = float(self.see(x[position], position, stored=True)[0].loss)
            differ = abs(here - expected) > SAME * max(abs(here), abs(expected)) + LEAST
            if np.isfinite(expected) and (differ or not np.isfinite(here)):
                raise UserError(
                    f"{name}: replica {self.ensemble.replica[position]} has the energy {expected:.6g} in the "
                    f"file, and {here:.6g} as its network is now: code or data have changed"
                )

    def hessian(self, state: kit.NetworkState, position: int) -> kit.LossHessian:
        """Return the Hessian of the mean training loss of one replica (`curvature`)."""
        values = dict(zip(self.twin.beside, (b[position] for b in state.buffers), strict=True))
        curved = self.chosen.curved[int(self.ensemble.replica[position])].index
        kind = kit.LayeredHessian if self.record.layers else kit.LossHessian
        return kind(self.twin, state.weights[position], values, curved)

    def slopes(self, state: kit.NetworkState, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return training losses, shape (n,), and their gradients, (n, M), of all measured examples.

        In evaluation mode, with the statistics that the state has, and in double precision, without weight
        decay: of the energy that is measured, by the Hessian's own means.
        """
        points = []
        for weights, position in zip(x, positions, strict=True):
            values = dict(zip(self.twin.beside, (b[position] for b in state.buffers), strict=True))
            here = torch.from_numpy(weights).to(self.device)
            points.append(kit.Point(self.twin, here, values, self._learned(int(position))))
        return kit.slopes_of(points)

    def placed(self, state: kit.NetworkState, x: Array) -> kit.NetworkState:
        """Return the state with weights x, shape (R, M), in double precision, to be looked at there."""
        return replace(state, weights=torch.from_numpy(x).to(self.device))

    def parts(self) -> list[Part]:
        """Return the trainable parameters; filters of a transposed convolution are along its second axis."""
        turned = kit.transposed(self.modules[0])
        blocks = self.layout.blocks
        return [Part(b.name, b.shape, b.start, int(b.name in turned)) for b in blocks]

    def gauss_newton(self, state: kit.NetworkState, position: int) -> kit.GaussNewton:
        """Return the Gauss-Newton matrix of the same loss as the Hessian's."""
        at = self.hessian(state, position)
        return kit.GaussNewton(at.twin, at.weights, at.beside, at.index)

    @cached_property
    def twin(self) -> kit.Twin:
        """The network that Hessians are taken of."""
        module = self.built(int(self.ensemble.replica[0]))
        shared = self.work, self.ensemble.threads, self.world
        return kit.Twin(module, self.layout, self.loss, self.train, *shared)

    def compare(self, reference: kit.Reference, state: kit.NetworkState) -> dict[str, Array]:
        """Return msd Δ = (1/M) Σ (w_i − w_i')², correlation (1/M) Σ w_i w_i', shape (R,), and `overlaps`."""
        msd, correlation = kit.compare(reference.weights, state.weights)
        turned = kit.overlaps.normalised_overlap(reference.square, msd, correlation)
        compared = {"msd": msd, "correlation": correlation, "normalised_overlap": turned}
        ends = self.layout, reference.weights, state.weights
        if self.record.layers:
            compared["layer_msd"] = kit.layers.msd(*ends)
        if self.record.layer_angles:
            among = kit.layers.blocks(self.layout) if self.record.layers else None
            compared["layer_angle"] = kit.overlaps.layer_angles(*ends, among)
        return compared

    def dimensions(self) -> Dimensions:
        """Return the further dimension of what is measured of each layer."""
        angles: Dimensions = {"layer_angle": ("layer",)} if self.record.layer_angles else {}
        return {**angles, **kit.layers.DIMENSIONS} if self.record.layers else angles

    def compare_at(self, reference: kit.Reference, state: kit.NetworkState, lag: float) -> dict[str, Array]:
        """Return what `compare` does, and the response over this lag where it is measured (`response`)."""
        return self.compare(reference, state) | self.response.compare(state, lag)

    def attributes(self) -> Attributes:
        """Return the attributes of everything that a network measures."""
        steps = step_attributes(self.dynamics, self.batches.size, self.problem.rule)
        whole = measured_attributes(self.loss, self.dof, self.chosen.sizes, steps, self.traits)
        apart = kit.layers.attributes(whole) if self.record.layers else {}
        if self.loss.signed:
            apart |= kit.gaps.attributes(self, [len(rows) for rows in self._rows.values()])
        return {**whole, **apart, **kit.measured_response.attributes(self)}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return the time of gradient flow, the learning rate if it changes, and the names of layers."""
        named = kit.overlaps.layer_names(self.layout) if self.record.layer_angles else {}
        named = kit.layers.coordinates(self.layout) if self.record.layers else named
        return {**scaled_times(self.dynamics.rates, schedule, self.one_rate), **named}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> kit.NetworkState:
        """Return the state that `state_dict` saved."""
        return self.response.load(saved, kit.restored(saved, self.device, self.companions.values[0]))
