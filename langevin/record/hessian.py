"""The spectrum of the Hessian is measured at the times of `record.hessian`, of any system that gives one.

Beside it, where they are asked for: eigenvectors of the largest eigenvalues, and the spectrum of the
Gauss-Newton matrix. The part of the squared gradient in the span of eigenvectors is that of Gur-Ari, Roberts
and Dyer 2018 (arXiv:1812.04754).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from langevin.config import shards
from langevin.config.keys import HessianKeys
from langevin.config.settings import Settings
from langevin.core.answers import HasBlocks, HasDisplacements, HasGradient
from langevin.core.capabilities import HasGaussNewton, HasHessian
from langevin.core.ensemble import Ensemble
from langevin.core.probe import Probe, Run, Taken
from langevin.core.schedule import Stop
from langevin.core.system import Array, Attributes, Curvature, State, System
from langevin.errors import Diverged, UserError
from langevin.machine.blas import single_blas
from langevin.machine.memory import or_shards

from .configurations import degrees_of_freedom

#: For the file: what the Gauss-Newton matrix is.
GAUSS_NEWTON = (
    "⟨Jᵀ (∂²ℓ/∂f∂f) J⟩, J the derivatives of the outputs f by the weights, ℓ the loss of an example; "
    "of the same examples as the Hessian"
)

_SPECTRUM: dict[str, dict[str, str]] = {
    "hessian_eigenvalue": {
        "long_name": "eigenvalue of the Hessian",
        "method": "all eigenvalues of the matrix, ascending",
    },
    "ritz_value": {
        "long_name": "Ritz value of the Hessian",
        "method": "stochastic Lanczos quadrature, full reorthogonalisation; each probe has entries ±1",
    },
    "ritz_weight": {
        "long_name": "share of the spectral density at a Ritz value",
        "method": "squared first components of the tridiagonal matrix's eigenvectors; a probe's add up to 1",
    },
    "ritz_residual": {
        "long_name": "distance of a Ritz value within which an eigenvalue lies",
        "method": "β_m times the last component of the tridiagonal matrix's eigenvector",
    },
    "hessian_trace": {"long_name": "trace of the Hessian"},
    "hessian_trace_error": {
        "long_name": "standard error of the trace of the Hessian",
        "method": "from the scatter of the probes (Hutchinson)",
        # Each replica has probes of its own: the scatter of several replicas holds this error.
        "kind": "sampling",
    },
}

_VECTORS: dict[str, dict[str, str]] = {
    "hessian_vector": {
        "long_name": "eigenvector of the Hessian",
        "method": "of the largest eigenvalues, descending; of unit length, its largest component positive",
    },
    "hessian_vector_value": {"long_name": "eigenvalue of an eigenvector of the Hessian"},
    "hessian_vector_residual": {
        "long_name": "distance of the eigenvalue of an eigenvector within which an eigenvalue lies",
        "method": "|H v − λ v|",
    },
    "gradient_overlap": {
        "long_name": "part of the squared gradient in the span of this and the eigenvectors before",
        "units": "1",
    },
}


def ggn_name(name: str) -> str:
    """Return what a variable of the Hessian's spectrum is called of the Gauss-Newton matrix."""
    return f"ggn_{name.removeprefix('hessian_')}"


class _Kept:
    """An operator whose matrix is made once."""

    def __init__(self, operator: Curvature) -> None:
        self.operator, self.size, self.matvec = operator, operator.size, operator.matvec

    def dense(self) -> Array:
        return self._matrix

    @cached_property
    def _matrix(self) -> Array:
        return self.operator.dense()


class Spectra(Probe):
    """Measures the spectra of all replicas.

    Parameters
    ----------
    keys : HessianKeys
        When, and how: up to which size exactly, else with how many steps and probes.
    ensemble : Ensemble
    system : System
    settings : Settings, optional
        Of the run, which may be cut into shards where it has no room.
    """

    keys: HessianKeys

    def __init__(
        self, keys: HessianKeys, ensemble: Ensemble, system: System, settings: Settings | None = None
    ) -> None:
        super().__init__("hessian", keys.hessian, keys)
        self.ensemble, self.system, self.settings = ensemble, system, settings

    def prepare(self, run: Run) -> None:
        """Make sure, before the first step, that the spectra fit into the memory."""
        if run.position == 0:
            times = len(run.schedule.axes[self.axes[0]])
            rows = run.system.attributes().get("hessian", {}).get("rows")
            self.require_room(degrees_of_freedom(run), times, rows)

    def require_room(self, dof: int, times: int = 1, rows: int | None = None) -> None:
        """Make sure that the spectra of Hessians, of about dof rows, or so many, fit into the memory.

        Raises
        ------
        UserError
            If they do not, or if there are not as many eigenvectors.
        """
        import psutil

        keys, free = self.keys, psutil.virtual_memory().available
        rows = dof if rows is None else rows
        if (count := keys.hessian_vectors) > rows:
            raise UserError(f"record.hessian_vectors = {count}: allowed: up to {rows}, the Hessian's rows")
        # In the recorder, and once more where they are written.
        each = 2 * 8 * dof * count * times
        stored = each * self.ensemble.size
        if stored > free:
            of, settings = (lambda replicas, _: each * replicas), self.settings
            parts = None if settings is None else shards.fewest(settings, of, free)
            raise UserError(
                f"record.hessian_vectors = {count}: of {dof} numbers at {times} times and of "
                f"{self.ensemble.size} replicas they need {stored / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
                f"free; take less{or_shards(parts)}"
            )
        exact = dof <= keys.hessian_exact
        # The matrix, one while it is made, a copy that is overwritten; or the basis of a probe.
        needed = 8 * dof * (3 * dof if exact else min(max(keys.hessian_steps, 2 * count), dof))
        if needed > free:
            name = "hessian_exact" if exact else "hessian_steps"
            raise UserError(
                f"record.{name} = {getattr(keys, name)}: a Hessian of {dof} rows needs {needed / 1e9:.1f} GB "
                f"with it, {free / 1e9:.1f} GB are free; take less"
            )

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return the spectra at a stop."""
        return self.measure(run.state, stop.time)

    def measure(self, state: State, time: float) -> Taken:
        """Return what the file holds of the Hessian at one time.

        The probes of a replica follow from (seed, replica, time) alone.

        Raises
        ------
        Diverged
            If a Hessian is not finite.
        """
        with single_blas():
            rows = [self._all(state, k, time) for k in range(self.ensemble.size)]
        names = rows[0]
        return {n: (names[n][0], np.stack([row[n][1] for row in rows])) for n in names}

    def _all(self, state: State, position: int, time: float) -> dict[str, tuple[Any, Array]]:
        """Return what is measured of one replica, without the first axis."""
        label, keys, system = int(self.ensemble.replica[position]), self.keys, self.system
        stamp = int(np.float64(time).view(np.uint64))
        assert isinstance(system, HasHessian), "else record.hessian is refused"
        hessian = system.hessian(state, position)
        kept = _Kept(hessian)
        try:
            measured = self._spectrum(kept, self.ensemble.quenched("hessian", label, stamp))
            if keys.hessian_vectors:
                measured |= self._vectors(kept, self.ensemble.quenched("eigenvectors", label, stamp))
            if keys.ggn:
                assert isinstance(system, HasGaussNewton), "else record.ggn is refused"
                matrix = system.gauss_newton(state, position)
                other = self._spectrum(matrix, self.ensemble.quenched("gauss_newton", label, stamp))
                measured |= {ggn_name(name): value for name, value in other.items()}
            if isinstance(hessian, HasBlocks):
                # What the operator knows of its parts; with probes of their own.
                measured |= hessian.further(
                    self.ensemble.quenched("parts of the Hessian", label, stamp), keys
                )
        except ValueError as error:
            raise Diverged(f"the Hessian of replica {label} at t = {time:g}: {error}") from None
        return measured

    def _spectrum(self, curvature: Curvature, rng: np.random.Generator) -> dict[str, tuple[Any, Array]]:
        from langevin.observables.landscape.hessian import spectrum

        keys = self.keys
        eigen = spectrum(curvature, rng, keys.hessian_exact, keys.hessian_steps, keys.hessian_probes)
        trace: dict[str, tuple[Any, Array]] = {"hessian_trace": ((), np.array(eigen.trace))}
        if eigen.exact:
            return {"hessian_eigenvalue": (("mode",), eigen.values), **trace}
        two = ("probe", "ritz")
        return {
            "ritz_value": (two, eigen.values),
            "ritz_weight": (two, eigen.weights),
            "ritz_residual": (two, eigen.residuals),
            **trace,
            "hessian_trace_error": ((), np.array(eigen.trace_error)),
        }

    def _vectors(self, kept: _Kept, rng: np.random.Generator) -> dict[str, tuple[Any, Array]]:
        from langevin.observables.landscape.eigenvectors import part_in_span, top

        keys, hessian = self.keys, kept.operator
        if keys.hessian_vectors > kept.size:
            raise ValueError(f"record.hessian_vectors = {keys.hessian_vectors}: it has {kept.size} rows")
        eigen = top(kept, keys.hessian_vectors, rng, keys.hessian_exact, keys.hessian_steps)
        vectors = eigen.vectors
        moved = hessian.displacements(vectors) if isinstance(hessian, HasDisplacements) else vectors
        each = ("eigenvector",)
        parts: dict[str, tuple[Any, Array]] = {
            "hessian_vector": ((*each, "dof"), moved.T),
            "hessian_vector_value": (each, eigen.values),
            "hessian_vector_residual": (each, eigen.residuals),
        }
        if isinstance(hessian, HasGradient):
            parts["gradient_overlap"] = (each, part_in_span(vectors, hessian.gradient()))
        return parts

    def attributes(self) -> Attributes:
        """Return the attributes of the spectra.

        What the system says of "hessian" holds for all variables of the spectrum, what it says of one of them
        for that one.
        """
        said = self.system.attributes()
        common = {"units": "1", **said.get("hessian", {})}
        known = _SPECTRUM | _VECTORS
        for name, about in _SPECTRUM.items():
            words = about["long_name"].replace("the Hessian", "the Gauss-Newton matrix")
            known[ggn_name(name)] = {**about, "long_name": words, "definition": GAUSS_NEWTON}
        ours = {name: {**common, **about, **said.get(name, {})} for name, about in known.items()}
        # Of unit length, whatever the units of the Hessian.
        ours["hessian_vector"]["units"] = "1"
        return ours
