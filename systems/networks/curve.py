"""Curves between stored weights of a network, as a system that run files name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import key
from langevin.config.settings import Settings
from langevin.core.capabilities import MeasuresAtEnd, ReadsInputs, SuggestsSettings
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schedule import Schedule
from langevin.core.system import Array, Attributes, Coordinates, Dimensions
from langevin.errors import UserError
from langevin.machine import reports
from langevin.machine.later import later
from langevin.systems.curves import geometry
from langevin.systems.curves.chained import KICK_ROLE
from langevin.systems.curves.ends import CurveKeys, Ends, RecordCurve
from langevin.systems.curves.geometry import Kind
from langevin.systems.curves.run import position_coordinate
from langevin.systems.curves.spaces import norm

from .curve_network import network_of, recall
from .keys import Descent, RecordDescent
from .measure.along import ALONG, ERRORS, profile_attributes
from .network import Descending, descent_faults
from .schedules import scaled_times

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from . import kit
else:
    torch, kit = later("torch"), later(f"{__package__}.kit")

#: Training examples on which a network is compared with itself after its units have changed places.
TRIED = 16

#: How names of a barrier's variables end → parts of `observables.landscape.Barrier`.
BARRIER = {
    "": "value",
    "_bias": "bias",
    "_position": "place",
    "_refinement": "refinement",
    "_error": "error",
    "_low": "low",
    "_high": "high",
    "_resampled": "again",
}


class RecordNetworkCurve(RecordCurve, RecordDescent):
    """[record] of curves of networks."""

    nodes: int = key(
        "nodes of the quadrature by which the mean loss along the curve is measured, at least",
        default=4,
        ge=1,
    )


class NetworkCurve(Descending, ReadsInputs, SuggestsSettings, MeasuresAtEnd):
    """A curve between two stored sets of weights of a network: its bends descend, by stochastic gradients."""

    quenched_disorder: ClassVar[bool] = False
    Record: ClassVar[type[RecordNetworkCurve]] = RecordNetworkCurve

    class Parameters(CurveKeys):
        """What stands under [system]."""

        align: bool = key(
            "permute the units of each last end, its function the same, to fit those of the first",
            default=False,
        )

    def __init__(
        self, parameters: Any, dynamics: Descent, ensemble: Ensemble, record: RecordNetworkCurve
    ) -> None:
        self.dynamics, self.ensemble, self.record = dynamics, ensemble, record
        # A band is drawn, and measured, as the chain through its pivots.
        self.kind: Kind = "chain" if parameters.curve == "band" else parameters.curve
        self.curve, self.bends = parameters.curve, parameters.bends
        self.loss, self.kick = parameters.loss, parameters.kick
        ends = Ends.read(parameters)
        self.inputs_hash = ends.hash
        self.network = network_of(ends, dynamics, ensemble, record)
        network = self.network
        if ends.start.shape[1] != network.dof:
            raise UserError(
                f"system.start = {parameters.start!r}: {ends.start.shape[1]} weights are stored, the network "
                f"has {network.dof}"
            )
        #: Distances of the ends before and after their alignment; None without.
        self.moved: tuple[Array, Array] | None = None
        with kit.explained():
            recall(network, ends, ensemble)
            first, last = (x[ensemble.replica] for x in (ends.start, ends.end))
            if parameters.align:
                last, before = self._aligned(first, last), kit.distances(first, last)
                self.moved = before, kit.distances(first, last)
            self.start, self.end = (
                torch.from_numpy(x).to(network.device, network.dtype) for x in (first, last)
            )
            spring = parameters.spring if self.curve == "band" else None
            bends = kit.Bends(self.start, self.end, self.kind, self.bends, self.loss, ensemble, spring)
            self.units = network.make_units(bends)
        #: Degrees of freedom, of all bends.
        self.dof, self.device_name = self.bends * network.dof, network.device_name
        self.device = network.device
        panels = self.bends + 1 if self.kind == "chain" else 1
        self._t, self._h = geometry.quadrature(panels, -(-record.nodes // panels))

    @staticmethod
    def suggested(settings: Settings, t_max: float | None = None) -> dict[str, Any]:
        """Return [dynamics] and [record] of a run of curves, unless it says otherwise; `t_max` as it says.

        As Garipov et al. 2018 do it for VGG-16: three times as many steps as the ends took, at 0.3 of their
        learning rate, which falls in the second half.
        """
        ends = settings.dynamics
        kept = ("batch_size", "batches", "augment", "weight_decay", "decay", "rate_factors", "device",
                "precision", *ends.optimiser_keys())  # fmt: skip
        steps = 3 * round(ends.t_max) if t_max is None else round(t_max)
        dynamics = {
            "learning_rate": 0.3 * ends.learning_rate,
            "schedule": "piecewise_linear",
            "t_max": float(steps),
            **{name: getattr(ends, name) for name in kept},
        }
        times = sorted({float(steps * part // 4) for part in range(5)})
        quiet = {"waiting_times": [], "lags": [], "configurations": "never"}
        return {"dynamics": dynamics, "record": {"times": times, **quiet}}

    @classmethod
    def check(cls, settings: Any) -> Iterable[str]:
        """Yield the faults of files and keys together."""
        yield from descent_faults(settings)
        yield from Ends.check(settings)
        for name in ("layer_angles", "layers"):
            if isinstance(settings.record, RecordNetworkCurve) and getattr(settings.record, name):
                yield f"record.{name} = true: allowed: false with a curve, whose bends are no layers"
        keys, rate = settings.system, settings.dynamics.learning_rate
        rate *= max([1.0, *settings.dynamics.rate_factors.values()])
        optimiser = settings.dynamics.own_optimiser()
        if settings.dynamics.rests:
            yield "dynamics.rests = true: allowed: false with a curve"
        if settings.dynamics.backend == "numba" and optimiser.kernel_moments is not None:
            named = f'dynamics.optimiser = "{settings.dynamics.optimiser}"'
            yield f'dynamics.backend = "numba": allowed: "auto", "torch" with {named} and a curve'
        named = f'dynamics.optimiser = "{settings.dynamics.optimiser}"'
        if keys.curve == "band" and not optimiser.linear:
            yield f'system.curve = "band": allowed: "bezier", "chain" with {named}, whose steps go along it'
        if optimiser.decouples and settings.dynamics.weight_decay:
            yield f"{named}: allowed with a curve: dynamics.weight_decay = 0, or another optimiser"
        if keys.curve == "band" and rate * keys.spring >= 0.5:
            yield (
                f"system.spring = {keys.spring:g}: must be < {0.5 / rate:g}, 1/(2 dynamics.learning_rate), "
                'with system.curve = "band"'
            )

    # The curve.

    def _aligned(self, first: Array, last: Array) -> Array:
        """Return the last ends, shape (R, M), their units permuted to fit those of the first."""
        network = self.network
        index = torch.arange(min(TRIED, len(network.train)), device=network.device)
        inputs = network.train.gather(index)[0]
        return kit.aligned(network.modules[0], network.layout, inputs, first, last, self.ensemble)

    @property
    def _kept(self) -> list[list[Tensor]]:
        """What the steps of each curve depend on beside its bends, as they begin; mostly nothing."""
        companions = self.network.companions
        return companions.values if self.network.traits.remembers else []

    @property
    def _absent(self) -> tuple[str, ...]:
        """Names of what cannot be measured along a curve."""
        return () if self.network.loss.classified else ERRORS

    def control(self, theta: Tensor) -> Tensor:
        """Return the control points, ends included, shape (R, bends + 2, M), of bends (R, bends·M)."""
        inner = theta.view(len(theta), self.bends, self.network.dof)
        return torch.cat([self.start[:, None], inner, self.end[:, None]], dim=1)

    # The system.

    def initial_state(self, noise: Noise) -> kit.NetworkState:
        """Return bends at equal distances on the segment, each kicked off it (`curves.chained`)."""
        places = torch.linspace(0, 1, self.bends + 2, dtype=torch.float64)[1:-1].tolist()
        with torch.no_grad():
            rows = [torch.lerp(self.start, self.end, place) for place in places]
            weights = torch.cat(rows, dim=1) + self._kicks()
        memory = self.network.first_batches(noise)
        tensors = self.bends * len(self.network.layout.blocks)
        slots = self.network.problem.rule.optimiser.start(weights, tensors)
        return kit.NetworkState(weights, slots, kit.stacked(self._kept), memory)

    def _kicks(self) -> Tensor:
        """Return random displacements of the bends, shape (R, bends·M).

        Mini-batches and drawn positions break a symmetry, too. A band on full batches draws nothing.
        """
        rows = []
        for start, end, k in zip(self.start, self.end, self.ensemble.replica.tolist(), strict=True):
            far = float(torch.linalg.vector_norm((end - start).double()))
            pushed = self.ensemble.driving(KICK_ROLE, k).standard_normal(self.dof)
            rows.append(torch.from_numpy(self.kick * far / math.sqrt(self.network.dof) * pushed).to(start))
        return torch.stack(rows)

    def begun_from(self, state: kit.NetworkState, x: Array) -> kit.NetworkState:
        """Return the start with the bends x, shape (R, bends·M), at rest."""
        weights = torch.tensor(x, dtype=state.weights.dtype, device=state.weights.device)
        return replace(state, weights=weights)

    def move(self, state: kit.NetworkState, t0: float, t1: float, noise: Noise) -> kit.NetworkState:
        """Take the steps from t0 to t1, in place."""
        first, last = round(t0), round(t1)
        with self.network.watched():
            bad = self.units.advance(state, first, last, self.network.streams(noise))
            unfit = kit.first_not_finite(state.weights)
        if bad is not None or unfit is not None:
            raise self._diverged("on curve", *(bad or (last, unfit or 0)))
        return state

    def measure(self, state: kit.NetworkState) -> dict[str, Array]:
        """Return mean losses along the curve, the highest at a node, and the length, shape (R,) each."""
        control = self.control(state.weights)
        images = np.stack([isometric(points) for points in control])
        speeds = geometry.speed(self.kind, self._t, images)
        h = self._h if self.loss == "uniform_t" else self._h * speeds
        h = np.broadcast_to(h / np.sum(h, axis=-1, keepdims=True), speeds.shape)
        names = [n for n in ("energy", "test_loss", "test_error") if n not in self._absent]
        nodes = np.empty((len(names), *speeds.shape))
        for r, points in enumerate(control):
            for n, t in enumerate(self._t):
                trained, tested = self.network.see(point(self.kind, points, float(t)), r)
                wrong = () if tested.wrong is None else (tested.wrong.mean(),)
                nodes[:, r, n] = trained.loss, tested.loss, *wrong
        mean = dict(zip(names, np.sum(nodes * h, axis=2), strict=True))
        ratio = geometry.length(self.kind, images, rows=geometry.Rows.of(self.ensemble)) / norm(
            images[:, -1] - images[:, 0]
        )
        return {**mean, "highest_energy": nodes[0].max(axis=1), "length_ratio": ratio}

    def compare(self, reference: kit.Reference, state: kit.NetworkState) -> dict[str, Array]:
        """Return msd and correlation of the bends, per weight, shape (R,) each."""
        msd, correlation = kit.compare(reference.weights, state.weights)
        return {"msd": msd, "correlation": correlation}

    def load_state(self, saved: Mapping[str, NDArray[Any]]) -> kit.NetworkState:
        """Return the state that `state_dict` saved."""
        return kit.restored(saved, self.network.device, self._kept[0] if self._kept else ())

    def at_end(self, state: kit.NetworkState) -> dict[str, Array]:
        """Return what the final curve and the segment look like, from end to end, and the control points."""
        rows = []
        for r, points in enumerate(self.control(state.weights)):
            image = isometric(points)[None]
            path = geometry.points(self.kind, (t := np.linspace(0, 1, self.record.positions)), image)
            arc = geometry.arc_lengths(self.kind, t, image)[0]
            far = [norm(path[0] - end) / math.sqrt(self.network.dof) for end in (image[0, 0], image[0, -1])]
            own = {"arc_length": arc / arc[-1], "distance_from_start": far[0], "distance_from_end": far[1]}
            curve = self._look(points, self.kind, "curve", r, 0)
            straight = self._look(torch.stack([points[0], points[-1]]), "chain", "shortest", r, 1)
            rows.append({**own, **curve, **straight, "control": points.double().cpu().numpy()})
        found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        if self.moved is not None:
            found["unaligned_distance"], found["aligned_distance"] = self.moved
        return found

    def _look(self, points: Tensor, kind: Kind, name: str, r: int, half: int) -> dict[str, Any]:
        """Return losses, errors and the barrier along a curve of replica r, under names that begin so."""
        count, looked = self.record.positions, []
        for n, t in enumerate(np.linspace(0, 1, count)):
            looked.append(self.network.see(point(kind, points, float(t)), r))
            reports.report(((2 * r + half) * count + n + 1) / (2 * count * self.ensemble.size))
        columns = {"energy": [a.loss for a, _ in looked], "test_loss": [b.loss for _, b in looked]}
        errors = [
            (a.wrong.mean(), b.wrong.mean()) for a, b in looked if a.wrong is not None and b.wrong is not None
        ]
        if errors:
            first, labels = looked[0][1].predictions, looked[0][1].labels
            columns["train_error"], columns["test_error"] = map(list, zip(*errors, strict=True))
            columns["pair_error"] = [np.mean((first + b.predictions).argmax(-1) != labels) for _, b in looked]
        profiles = {f"{name}_{what}": np.array(row) for what, row in columns.items()}
        # Curves that were measured with the same examples have the same resamples (`mean_barrier`).
        same = looked[0][0].labels
        examples = zlib.crc32((self.network._learned(r).cpu().numpy() if same is None else same).tobytes())
        rng = self.ensemble.driving("resampled examples", examples)
        height = kit.barriers.of_losses(np.stack([a.losses for a, _ in looked]), rng)
        which = "barrier" if name == "curve" else f"{name}_barrier"
        return profiles | {which + ending: getattr(height, part) for ending, part in BARRIER.items()}

    def dimensions(self) -> Dimensions:
        """Return the dimensions of what the final curve looks like."""
        measured = [what for what in ALONG if what not in self._absent]
        names = [f"{way}_{what}" for way in ("curve", "shortest") for what in measured]
        along = dict.fromkeys(
            [*names, "arc_length", "distance_from_start", "distance_from_end"], ("position",)
        )
        drawn = dict.fromkeys(("barrier_resampled", "shortest_barrier_resampled"), ("resample",))
        return {**along, **drawn, "control": ("control_point", "component")}

    def coordinates(self, schedule: Schedule) -> Coordinates:
        """Return the positions on the final curve, and the time of gradient flow (`scaled_times`)."""
        positions = position_coordinate(self.record.positions)
        scaled = scaled_times(self.dynamics.rates, schedule, self.network.one_rate)
        return {"position": positions, **scaled}

    def attributes(self) -> Attributes:
        """Return the attributes of everything that is measured."""
        uniform = "t" if self.loss == "uniform_t" else "length"
        theirs = self.network.attributes()
        mean = f"mean over the curve, uniform in {uniform}: "
        along = [n for n in ("energy", "test_loss", "test_error") if n not in self._absent]
        names = {n: f"{mean}{theirs[n]['long_name']}" for n in along}
        names |= {
            "highest_energy": "highest training loss at a node of the curve, a maximum of noisy means",
            "length_ratio": "length of the curve over the distance of its ends",
            "msd": "mean square displacement of the bends, per weight",
            "correlation": "two-time correlation of the bends, per weight",
            "control": "control points of the final curve, ends included",
        }
        variables: dict[str, dict[str, Any]] = {n: {"long_name": words} for n, words in names.items()}
        for n in along:
            variables[n] |= {about: theirs[n][about] for about in ("examples", "examples_of")}
        for n in ("msd", "correlation"):
            variables[n]["dof"] = self.dof
        if self.moved is not None:
            far = "root mean square distance of the ends, per weight"
            variables["unaligned_distance"] = {"long_name": f"{far}, as they were stored"}
            variables["aligned_distance"] = {"long_name": f"{far}, after the permutation of the last"}
        variables["control"]["curve"] = self.curve
        evaluated = theirs.get("evaluated", {})
        variables |= profile_attributes({n: {**theirs[n], **evaluated} for n in ALONG if n in theirs})
        for n in (*along, "highest_energy"):
            variables[n] |= evaluated
        steps = {axis: {"units": "steps"} for axis in ("time", "waiting_time", "lag")}
        return {name: {"units": "1", **about} for name, about in variables.items()} | steps


def point(kind: Kind, control: Tensor, t: float) -> Tensor:
    """Return φ(t), shape (M,), of control points (bends + 2, M); the ends exact."""
    w = geometry.weights(kind, np.array(t), len(control) - 2)
    if t in (0.0, 1.0):
        return control[0 if t == 0 else -1]
    return torch.as_tensor(w, dtype=control.dtype, device=control.device) @ control


def isometric(points: Tensor) -> Array:
    """Return points of as few dimensions as they need, at the same distances, shape (n, n − 1) of (n, M).

    Lengths and distances on a curve depend on the products of its control points' differences alone.
    """
    steps = torch.diff(points.double(), dim=0)
    values, vectors = np.linalg.eigh((steps @ steps.T).cpu().numpy())
    image = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.concatenate([np.zeros((1, len(values))), np.cumsum(image, axis=0)])
