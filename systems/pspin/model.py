r"""The spherical p-spin model: H = −Σ_{i1<…<ip} J_{i1…ip} σ_{i1}…σ_{ip} on the sphere Σσ_i² = N.

⟨J²⟩ = p!/(2N^{p−1}), so that ⟨H H'⟩ = N q^p/2 at overlap q. A mixed model is a sum of such H over p, with
⟨J²⟩ = a_p p!/(2N^{p−1}) and ⟨H H'⟩ = N f(q), f(q) = Σ_p a_p q^p/2. Energies are per spin. The projection onto
the sphere after each step supplies the Lagrange multiplier μ = T − Σ_p p E_p: with |x + dt f + √(2Tdt) η|² =
N(1 + 2dt(x·f/N + T)) on average, rescaling by 1 − dt(x·f/N + T) is the drift −μx, and x·f = −Σ_p p H_p.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import BeforeValidator

from langevin.config import shards
from langevin.config.keys import Section, key, shown
from langevin.config.sections import LangevinDynamics
from langevin.config.settings import Settings
from langevin.core.capabilities import (
    CarriesArrays,
    ChecksSettings,
    DescribesVariables,
    HasConstraint,
    HasHessian,
    HasKernel,
    HasObservables,
    HasSlopes,
    RunsOnDevice,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.protocol import Protocol, bounds
from langevin.core.schedule import Grid
from langevin.core.schemes import Held
from langevin.core.system import Array, Attributes, Model
from langevin.errors import UserError
from langevin.machine import processor
from langevin.machine.memory import or_shards
from langevin.systems.sphere import onto_sphere, uniform_on_sphere

from . import theory
from .curvature import TangentHessian
from .limits import Limits
from .planting import equilibrium_configuration
from .strengths import Interactions, parsed, strengths

if TYPE_CHECKING:
    import torch

    from .couplings import Disorder
    from .kernels import ForceField
    from .mixture import Sample
    from .spread_field import SpreadField
    from .torch_field import TorchField


class PSpinDynamics(LangevinDynamics):
    """[dynamics]: on what the steps are computed, too."""

    device: str = key(
        '"cpu"; "cuda", "cuda:1": a GPU; "auto": the GPU where there is one. A seed means the same couplings '
        "and starts everywhere, and the same noise with the same backend",
        default="cpu",
    )
    backend: Literal["auto", "numba", "torch"] = key(
        '"numba": compiled for the processor; "torch": for a GPU, or, slowly, the processor; "auto": numba '
        "on the processor, torch on a GPU",
        default="auto",
    )


def _numpy_type(couplings: str) -> np.dtype[Any]:
    return np.dtype("float32" if couplings == "tf32" else couplings)


def _memory_faults(
    powers: Iterable[int], n: int, couplings: str, samples: int, settings: Settings | None = None
) -> Iterable[str]:
    free = psutil.virtual_memory().available
    # The couplings alone first: the exact size, padding included, takes a table of all blocks. Padding has no
    # more than 16 numbers in a row, which mostly settles it.
    dtype = _numpy_type(couplings)
    number = dtype.itemsize * samples
    needed = sum(math.comb(n, p) for p in powers) * number
    if needed <= free < needed + 16 * sum(math.comb(n, p - 1) for p in powers) * number:
        from .couplings import packed_bytes

        needed = sum(packed_bytes(p, n, dtype) for p in powers) * samples
    if needed > free:
        # On a GPU one run has all samples.
        cut = settings is not None and settings.dynamics.device == "cpu"
        each = needed / max(samples, 1)
        count = shards.fewest(settings, lambda _, samples: each * samples, free) if settings and cut else None
        yield (
            f"system.n = {n}: the {couplings} couplings of {samples} samples need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; take a smaller n or fewer ensemble.samples"
            f"{or_shards(count)}"
        )


def _on_torch(device: str, backend: str) -> bool | None:
    """Return whether torch computes the forces; None: where there is a GPU."""
    if backend == "auto":
        return {"cpu": False, "auto": None}.get(device, True)
    return backend == "torch"


def _uncut(device: str, backend: str) -> str:
    """Say why a run is not cut into shards where torch computes the forces."""
    return (
        f'ensemble.shards: must be 1 with dynamics.device = "{device}", dynamics.backend = "{backend}" '
        "(torch multiplies all samples at once, and rounds by how many there are); allowed: "
        'dynamics.backend = "numba", or members of [sweep] with an ensemble.seed each'
    )


def _sum(terms: Iterable[Array]) -> Array:
    """Return the sum of at least one array, from the first on."""
    first, *further = terms
    return np.asarray(sum(further, first))


def _device_faults(couplings: str, device: str, backend: str) -> Iterable[str]:
    if backend == "numba" and device not in ("cpu", "auto"):
        yield f'dynamics.device = {device!r}: allowed: "cpu", "auto" with dynamics.backend = "numba"'
    if couplings == "tf32" and _on_torch(device, backend) is False:
        yield (
            'system.couplings = "tf32": allowed: "float32", "float64" on compiled kernels (TF32 is a GPU\'s: '
            'dynamics.device = "cuda")'
        )


class PSpin(
    Model,
    ChecksSettings,
    HasConstraint,
    HasKernel,
    CarriesArrays,
    HasHessian,
    HasObservables,
    HasSlopes,
    DescribesVariables,
    RunsOnDevice,
):
    """Spherical p-spin model, p = 2, 3, 4 or several of them, finite N.

    Replicas of one sample share its couplings. A random start (T_i = ∞) is drawn for each replica; an
    equilibrium start at finite T_i plants one configuration per sample, from which all its replicas leave.
    """

    class Parameters(Section):
        """What stands under [system]."""

        p: Annotated[Interactions, BeforeValidator(parsed)] = key(
            "number of spins in each interaction; a mixed model: several, with strengths, f(q) = Σ "
            "strength·q^p/2",
            example=3,
            kind="one of 2, 3, 4, or a table { 3 = 1.0, 4 = 1.0 }",
        )
        n: int = key("number of spins N", example=128, ge=4, le=1_000_000)
        couplings: Literal["float32", "float64", "tf32"] = key(
            "precision of couplings and forces; configurations and results are float64 either way; tf32: "
            "float32 numbers that a GPU multiplies with TF32, faster and with relative errors of 10⁻³",
            default="float32",
        )

    Dynamics = PSpinDynamics

    #: A planted start is part of the couplings.
    disorder_keys = ("initial_temperature",)

    def __init__(self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble) -> None:
        self.strengths = strengths(parameters.p)
        #: The p, ascending.
        self.powers = tuple(self.strengths)
        self.limits = Limits(self.strengths)
        self.n: int = parameters.n
        self.dtype, self._precision = _numpy_type(parameters.couplings), parameters.couplings
        # No closed form is that of a temperature that changes: not a number.
        bath = dynamics.temperature
        self.temperature = math.nan if isinstance(bath, Protocol) else bath
        #: The temperature at which a protocol ends; NaN where there is one temperature.
        self.last_temperature = bath.at(dynamics.t_max) if isinstance(bath, Protocol) else math.nan
        self.initial_temperature = dynamics.initial_temperature
        self.beta = 1 / dynamics.initial_temperature  # 0 for T_i = ∞; T_i = 0 does not pass `check`
        self.ensemble = ensemble
        self.samples, self._position = np.unique(ensemble.sample, return_inverse=True)
        # A configuration, its force, and the forces of every p.
        self._known: tuple[Array, Array, Array] | None = None
        self._of_hessian: tuple[int, Sample] | None = None
        self._of_some: tuple[NDArray[np.int64], ForceField] | None = None
        self._keys: tuple[Noise, Any] | None = None
        # The keys of any Langevin dynamics do: they say nothing of a device.
        device, backend = getattr(dynamics, "device", "cpu"), getattr(dynamics, "backend", "auto")
        #: Where torch computes the forces; None: compiled kernels do.
        self._device = self._placed(device, backend)

    def _placed(self, device: str, backend: str) -> torch.device | None:
        self.device_name = processor.device()
        if _on_torch(device, backend) is False:
            return None
        from langevin.systems.networks import devices

        if self.ensemble.run is not None:
            raise UserError(_uncut(device, backend))
        placed = devices.prepare(device, deterministic=False)
        if placed.type == "cpu" and backend == "auto":
            faults = [
                *_device_faults(self._precision, "cpu", "numba"),
                *_memory_faults(self.powers, self.n, self._precision, len(self.samples)),
            ]
            if faults:
                raise UserError(f'{faults[0]} (dynamics.device = "auto": there is no GPU)')
            return None
        self.device_name = devices.name_of(placed)
        self._cards = devices.cards_of(placed, device)
        return placed

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield a start that planting cannot give, and a step that is not stable."""
        p, dynamics = shown(settings.system.p), settings.dynamics
        limits = Limits(strengths(settings.system.p))
        # Of a random start nothing is asked, and no root finder loaded.
        planted = dynamics.initial_temperature < float("inf")
        if planted and dynamics.initial_temperature <= (lowest := limits.static_temperature):
            yield (
                f"dynamics.initial_temperature = {dynamics.initial_temperature:g}: must be above "
                f"T_K = {lowest:.6f} for p = {p} (below it a planted start is not equilibrium), or inf"
            )
        coldest, hottest = bounds(dynamics.temperature, dynamics.t_max)
        if hottest > coldest == 0 and dynamics.device != "cpu" and dynamics.scheme == "leimkuhler_matthews":
            # The step after the last kick is a plain one, which keeps no count of the steps on a device.
            yield (
                f"dynamics.temperature = {shown(dynamics.temperature.given)}: must stay > 0 with "
                f'dynamics.scheme = "leimkuhler_matthews" and dynamics.device = "{dynamics.device}"'
            )
        limit = limits.largest_step(hottest)
        if dynamics.dt >= limit:
            yield (
                f"dynamics.dt = {dynamics.dt:g}: must be below {limit:.4f} for p = {p}, T = "
                f"{hottest:g} (stability, and a kick √(2 T dt) that is small; unit: time)"
            )
        system, n, replicas = settings.system, settings.system.n, settings.ensemble.replicas
        yield from _device_faults(system.couplings, dynamics.device, dynamics.backend)
        if settings.ensemble.shards > 1 and _on_torch(dynamics.device, dynamics.backend) is not False:
            yield _uncut(dynamics.device, dynamics.backend)
        # Configurations before and after a step, and forces.
        said = f"system.n = {n}, ensemble.replicas = {replicas}"
        room = shards.room_faults(settings, lambda replicas, _: 3 * 8 * n * replicas, said)
        if next(iter(shards.faults(settings)), None):
            return
        samples = shards.largest(settings, settings.ensemble.shards)[1]
        if dynamics.device != "cpu":
            # Couplings live where only who builds the system looks; those of one sample here, for spectra.
            samples = 0 if settings.record.hessian == Grid() else 1
        yield from list(_memory_faults(limits.powers, n, system.couplings, samples, settings)) or room

    def _start(self, role_index: int) -> Array:
        """Return the start of a replica (T_i = ∞), or of a sample (planted), by label."""
        if self.beta == 0:
            return uniform_on_sphere(self.n, self.ensemble.quenched("start", role_index))
        return equilibrium_configuration(
            self.strengths, self.n, self.beta, self.ensemble.quenched("plant", role_index)
        )

    def _disorder(self, sample: int) -> list[Disorder]:
        """Return how the couplings of a sample are drawn, of each p.

        Those of each p in a mixed model have a stream of their own, that the other p and all strengths leave
        alone.
        """
        from .couplings import Disorder

        planted = None if self.beta == 0 else self._start(sample)
        mixed = len(self.powers) > 1
        return [
            Disorder(
                p, self.n, self.ensemble.quenched("disorder", sample, *[p] * mixed), planted, self.beta, a
            )
            for p, a in self.strengths.items()
        ]

    def _drawn(self, sample: int) -> Sample:
        """Return the couplings of a sample, in memory of the processor; of a mixed model those of each p."""
        from .couplings import Couplings

        parts = tuple(
            Couplings.draw(
                how.p, how.n, how.rng, dtype=self.dtype, planted=how.planted, beta=how.beta,
                strength=how.strength,
            )
            for how in self._disorder(sample)
        )  # fmt: skip
        return parts[0] if len(parts) == 1 else parts

    @cached_property
    def couplings(self) -> list[Sample]:
        """The quenched couplings, one for each sample of the ensemble, in memory of the processor."""
        return [self._drawn(s) for s in self.samples]

    @cached_property
    def field(self) -> ForceField | TorchField | SpreadField:
        """The forces: compiled ones, or those of torch."""
        if self._device is not None:
            return self._field_of_torch()
        from .kernels import ForceField

        return ForceField(self.couplings, self._position, self.ensemble.threads)

    def _field_of_torch(self) -> TorchField | SpreadField:
        """Return the forces of torch; on several cards, where there are, each has some of the samples."""
        from .spread_field import SpreadField
        from .torch_field import field

        fields, replicas = [], []
        cards = self._cards[: len(self.samples)]
        for card, places in zip(cards, np.array_split(np.arange(len(self.samples)), len(cards)), strict=True):
            own = np.flatnonzero(np.isin(self._position, places))
            disorders = [self._disorder(self.samples[s]) for s in places]
            fields.append(field(disorders, self._position[own] - places[0], card, self._precision))
            replicas.append(own)
        return fields[0] if len(fields) == 1 else SpreadField(fields, replicas)

    def initial_configuration(self, noise: Noise) -> Array:
        """Return the start, shape (R, N)."""
        labels = self.ensemble.replica if self.beta == 0 else self.ensemble.sample
        return np.array([self._start(k) for k in labels])

    def force(self, x: Array, t: float = 0.0, noise: Noise | None = None) -> Array:
        """Return −∂H/∂σ, shape (R, N)."""
        return self._forces(x)[0]

    def _forces(self, x: Array) -> tuple[Array, Array]:
        """Return the force, shape (R, N), and those of the interactions of every p, shape (P, R, N)."""
        # Measurements and the next step ask at the same x; configurations are never changed in place.
        if self._known is None or self._known[0] is not x:
            each = self.field.forces(x)
            self._known = (x, _sum(each), each)
        return self._known[1], self._known[2]

    def energy(self, x: Array) -> Array:
        """Return H/N = −Σ_p σ·f_p/(pN), shape (R,); Euler's theorem for homogeneous functions of degree p."""
        return _sum(self._energies(x).values())

    def _energies(self, x: Array) -> dict[int, Array]:
        """Return the energy of the interactions of every p, shape (R,) each."""
        each = self._forces(x)[1]
        return {p: -np.mean(x * f, axis=1) / p for p, f in zip(self.powers, each, strict=True)}

    def slopes(self, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return H/N, shape (n,), and ∂H/∂σ, shape (n, N), of configurations of some replicas.

        Compiled forces are those of these replicas alone; of one sample they share vectors, and round by how
        many they are. Torch has all replicas on the device, and computes all.
        """
        if self._device is None:
            each = self._field_of(positions).forces(x)
        else:
            whole = np.repeat(x[:1], self.ensemble.size, axis=0)
            whole[positions] = x
            each = self.field.forces(whole)[:, positions]
        energies = (-np.mean(x * f, axis=1) / p for p, f in zip(self.powers, each, strict=True))
        return _sum(energies), -_sum(each)

    def _field_of(self, positions: NDArray[np.int64]) -> Any:
        """Return the compiled forces of some replicas; a quench asks for the same ones many times."""
        from .kernels import ForceField

        if self._of_some is None or not np.array_equal(self._of_some[0], positions):
            field = ForceField(self.couplings, self._position[positions], self.ensemble.threads)
            self._of_some = positions.copy(), field
        return self._of_some[1]

    def constrain(self, x: Array) -> Array:
        """Rescale onto the sphere Σσ² = N."""
        return onto_sphere(x)

    def fused_steps(
        self,
        x: Array,
        steps: int,
        dt: float,
        temperature: float,
        noise: Noise,
        accumulated: Array | None = None,
        held: Held | None = None,
        carried: dict[str, Array] | None = None,
    ) -> Array:
        """Take many steps in compiled code, or on a device; equal to the plain step to rounding.

        On torch the normals are those of `philox.CountedNoise`.
        """
        if self._device is not None:
            return self._steps_on_device(x, steps, dt, temperature, noise, accumulated, held, carried)
        field: Any = self.field
        each = np.empty((len(self.powers), *x.shape)) if len(self.powers) > 1 else None
        given = x, self.force(x), steps, dt, temperature, noise.streams(), accumulated, held, each
        moved, force = field.steps(*given)
        self._known = (moved, force, force[None] if each is None else each)
        return self._known[0]

    def _steps_on_device(
        self,
        x: Array,
        steps: int,
        dt: float,
        temperature: float,
        noise: Noise,
        accumulated: Array | None,
        held: Held | None,
        carried: dict[str, Array] | None,
    ) -> Array:
        from . import philox

        # A run that compiled kernels began, on another machine, has no number of a step.
        first = int((carried or self.carried(x)).get("step", [0])[0])
        if carried is not None:
            carried["step"] = np.array([first + steps])
        if self._keys is None or self._keys[0] is not noise:
            self._keys = noise, philox.keys(noise)
        field: Any = self.field
        moved: Array = field.steps(x, first, steps, dt, temperature, self._keys[1], accumulated, held)
        return moved

    def carried(self, x: Array) -> dict[str, Array]:
        """Return the number of the next step, from which noise on torch follows; on kernels nothing."""
        return {} if self._device is None else {"step": np.zeros(1, np.int64)}

    def hessian(self, x: Array, position: int) -> TangentHessian:
        """Return the Hessian on the sphere of one replica, with N − 1 rows.

        It is computed on the processor, wherever forces are: couplings of one sample are then drawn there.
        """
        place = int(self._position[position])
        if self._device is None:
            couplings = self.couplings[place]
        elif self._of_hessian is not None and self._of_hessian[0] == place:
            couplings = self._of_hessian[1]
        else:
            self._of_hessian = None
            couplings = self._drawn(self.samples[place])
            self._of_hessian = place, couplings
        return TangentHessian(couplings, x[position], self.ensemble.threads)

    def observables(self, x: Array) -> dict[str, Array]:
        """Return the overlap of each replica with the next one of its sample, cyclically.

        One replica per sample has no partner: then there is no overlap. Of a mixed model the energy E_p of
        the interactions of each p and, at a constant T, the multiplier μ = T − Σ_p p E_p, too.
        """
        partner = self._partners
        found = {} if partner is None else {"overlap": np.mean(x * x[partner], axis=1)}
        if len(self.powers) > 1:
            energies = self._energies(x)
            found |= {f"energy_{p}": energy for p, energy in energies.items()}
        if len(self.powers) > 1 and not math.isnan(self.temperature):
            found["mu"] = self.temperature - _sum(p * energy for p, energy in energies.items())
        return found

    @cached_property
    def _partners(self) -> np.ndarray[Any, np.dtype[np.intp]] | None:
        # Of a shard, too, it is asked whether there are partners everywhere in the run.
        if np.unique(self.ensemble.whole.sample, return_counts=True)[1].min() == 1:
            return None
        partner = np.arange(self.ensemble.size)
        for s in range(len(self.samples)):
            members = np.flatnonzero(self._position == s)
            partner[members] = np.roll(members, -1)
        return partner

    def _limits_at_end(self) -> dict[str, Any]:
        """Return energies at the last temperature of a protocol: of a slow course, and of equilibrium.

        A pure model that was above T_d, or came from a random start, ends on the threshold of its last
        temperature, however slowly it was cooled: states that are marginal at one temperature are so at all.
        """
        limits, last = self.limits, self.last_temperature
        # Not a number where there is one temperature, whose limits are `asymptote` and the like.
        known = limits.pure is not None and limits.pure > 2
        if math.isnan(last) or not known or self.initial_temperature < limits.dynamic_temperature:
            return {}
        said = f"at T = {last:g}, where the protocol ends, for N → ∞, closed form"
        own: dict[str, Any] = {
            "equilibrium_at_end": limits.static_energy(last),
            "equilibrium_at_end_meaning": f"energy in equilibrium {said}",
        }
        if last < limits.dynamic_temperature:
            own["threshold_at_end"] = limits.quench_energy(last)
            own["threshold_at_end_meaning"] = f"threshold energy, that of infinitely slow cooling, {said}"
        return own

    def attributes(self) -> Attributes:
        """Name the observables; give the limits N, t → ∞ known in closed form, which figures draw."""
        energy: dict[str, Any] = {"long_name": "energy per spin"}
        msd: dict[str, Any] = {"long_name": "mean square displacement per spin"}
        correlation: dict[str, Any] = {"long_name": "spin correlation", "dof": self.n}
        response: dict[str, Any] = {"long_name": "integrated response"}
        limits = self.limits
        aging = self.beta == 0 and limits.ages(self.temperature)
        equilibrium = self.temperature == self.initial_temperature
        asymptote = None
        if equilibrium:
            # Planted in equilibrium it stays there, between T_K and T_d, too.
            asymptote = limits.equilibrium_energy(self.temperature)
        elif self.beta == 0 and not math.isnan(self.temperature):
            asymptote = limits.quench_energy(self.temperature)
        if asymptote is not None:
            energy["asymptote"] = asymptote
            energy["asymptote_meaning"] = "E(t → ∞) for N → ∞, closed form"
        energy.update(self._limits_at_end())
        if aging and self.temperature > 0:
            msd["plateau"] = 2 * (1 - limits.edwards_anderson(self.temperature))
            msd["plateau_meaning"] = "2(1 − q_EA) for N → ∞, closed form"
        if aging and self.temperature > 0 and self.powers[0] > 2:
            # For p = 2 there is no plateau at finite times to leave: it coarsens, and X = 0.
            q = limits.edwards_anderson(self.temperature)
            correlation.update(plateau=q, plateau_meaning="q_EA for N → ∞, closed form")
            response.update(q_ea=q, fdt_ratio=limits.fdt_ratio(self.temperature))
        return {
            "energy": energy,
            "inherent_energy": self._attributes_of_minima(),
            **self._attributes_of_parts(),
            "msd": msd,
            "correlation": correlation,
            "integrated_response": response,
            "overlap": {"long_name": "overlap with the next replica of the same sample", "units": "1"},
            "hessian": self._attributes_of_hessian(),
        }

    def _attributes_of_parts(self) -> Attributes:
        """Name what a mixed model measures besides."""
        if len(self.powers) == 1:
            return {}
        named: dict[str, dict[str, Any]] = {
            f"energy_{p}": {"long_name": f"energy of the interactions of {p} spins, per spin", "units": "1"}
            for p in self.powers
        }
        return {**named, "mu": {"long_name": "Lagrange multiplier of the sphere", "units": "1"}}

    def _attributes_of_minima(self) -> dict[str, Any]:
        """Return the energy at which minima of a pure model turn into saddles, E_th = −√(2(p−1)/p)."""
        if self.limits.pure is None or self.limits.pure == 2:
            return {}
        meaning = "threshold energy of the minima for N → ∞, closed form"
        return {"threshold": self.limits.quench_energy(0.0), "threshold_meaning": meaning}

    def _attributes_of_hessian(self) -> dict[str, Any]:
        where = "on the sphere's tangent plane, H the extensive energy"
        if len(self.powers) == 1:
            definition, over = f"∂²H/∂σ_i∂σ_j − pE δ_ij {where}", {"energy": self.powers[0]}
        else:
            definition = f"∂²H/∂σ_i∂σ_j − Σ_p p E_p δ_ij {where}"
            over = {f"energy_{p}": p for p in self.powers}
        return {
            "rows": self.n - 1,
            "definition": definition,
            # For N → ∞ a semicircle; its centre is this many times the energy, or the sum of such terms.
            "semicircle_radius": self.limits.hessian_radius,
            **{f"semicircle_centre_over_{name}": theory.hessian_centre(p, 1.0) for name, p in over.items()},
        }
