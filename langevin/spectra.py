"""The spectrum of the Hessian at the times of `record.hessian`: of any system that gives a Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from langevin.ensemble import Ensemble
from langevin.errors import Diverged, UserError
from langevin.keys import HessianKeys
from langevin.system import Array, Attributes, Curvature, State, System, optional

#: The dimensions of a variable besides replica and hessian_time, and its values, shape (R, …).
Found = Mapping[str, tuple[tuple[str, ...], Array]]

_ABOUT: dict[str, dict[str, str]] = {
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


class Spectra:
    """Measures the spectra of all replicas.

    Parameters
    ----------
    keys : HessianKeys
        How: up to which size exactly, else with how many steps and probes.
    ensemble : Ensemble
    """

    def __init__(self, keys: HessianKeys, ensemble: Ensemble) -> None:
        self.keys, self.ensemble = keys, ensemble

    def require_room(self, dof: int) -> None:
        """Make sure that the spectrum of a Hessian of about so many rows fits into the memory.

        Raises
        ------
        UserError
            If it does not.
        """
        import psutil

        keys, free = self.keys, psutil.virtual_memory().available
        exact = dof <= keys.hessian_exact
        # The matrix, one while it is made, a copy that is overwritten; or the basis of a probe.
        needed = 8 * dof * (3 * dof if exact else min(keys.hessian_steps, dof))
        if needed > free:
            name = "hessian_exact" if exact else "hessian_steps"
            raise UserError(
                f"record.{name} = {getattr(keys, name)}: a Hessian of {dof} rows needs {needed / 1e9:.1f} GB "
                f"with it, {free / 1e9:.1f} GB are free; take less"
            )

    def measure(self, system: System, state: State, time: float) -> Found:
        """Return what the file holds of the Hessian at one time.

        The probes of a replica follow from (seed, replica, time) alone.

        Raises
        ------
        Diverged
            If a Hessian is not finite.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        hessian = optional(system, "hessian")
        # One thread: the order of BLAS's sums, and with it the last bits, must not depend on their number.
        with threadpool_limits(limits=1, user_api="blas"):
            rows = [self._one(hessian(state, k), k, time) for k in range(self.ensemble.size)]
        names = rows[0]
        return {n: (names[n][0], np.stack([row[n][1] for row in rows])) for n in names}

    def _one(self, curvature: Curvature, position: int, time: float) -> dict[str, tuple[Any, Array]]:
        """Return the spectrum of one replica, without the first axis."""
        from langevin.observables.hessian import spectrum

        label, keys = int(self.ensemble.replica[position]), self.keys
        stamp = int(np.float64(time).view(np.uint64))
        rng = self.ensemble.quenched("hessian", label, stamp)
        try:
            found = spectrum(curvature, rng, keys.hessian_exact, keys.hessian_steps, keys.hessian_probes)
            further = getattr(curvature, "further", None)
            # What the operator knows of its parts; with probes of their own.
            parts = (
                further(self.ensemble.quenched("parts of the Hessian", label, stamp), keys) if further else {}
            )
        except ValueError as error:
            raise Diverged(f"the Hessian of replica {label} at t = {time:g}: {error}") from None
        trace: dict[str, tuple[Any, Array]] = {"hessian_trace": ((), np.array(found.trace)), **parts}
        if found.exact:
            return {"hessian_eigenvalue": (("mode",), found.values), **trace}
        two = ("probe", "ritz")
        return {
            "ritz_value": (two, found.values),
            "ritz_weight": (two, found.weights),
            "ritz_residual": (two, found.residuals),
            **trace,
            "hessian_trace_error": ((), np.array(found.trace_error)),
        }


def described(attributes: Attributes) -> Attributes:
    """Return the attributes of a system's variables and those of its spectra, and of the times of both.

    What the system says of "hessian" holds for all variables of the spectrum, what it says of one of them for
    that one.
    """
    common = {"units": "1", **attributes.get("hessian", {})}
    ours = {name: {**common, **about, **attributes.get(name, {})} for name, about in _ABOUT.items()}
    clock = attributes.get("time", {}).get("units", "1")
    ours |= {name: {"units": clock, **attributes.get(name, {})} for name in ("hessian_time", "snapshot_time")}
    return {**{name: about for name, about in attributes.items() if name != "hessian"}, **ours}
