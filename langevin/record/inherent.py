"""Inherent structures: from the configurations at the times of `record.inherent` quenches lead to minima.

A quench begins from what the state is and leaves no trace in it: it draws nothing, and what lies beside a
configuration, such as running statistics of batch-norm, stays as it is in the state.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import InherentKeys
from langevin.core.capabilities import HasConstraint, HasHessian, HasMinima
from langevin.core.ensemble import Ensemble
from langevin.core.probe import Probe, Run, Taken
from langevin.core.schedule import Stop
from langevin.core.system import Array, Attributes, State, System
from langevin.errors import Diverged, UserError
from langevin.machine.blas import single_blas
from langevin.machine.interruption import heed
from langevin.machine.later import later

from .configurations import required

if TYPE_CHECKING:
    from langevin.observables.landscape import quench as quenches
else:
    quenches = later("langevin.observables.landscape.quench")

#: Eigenvalues within this part of the largest modulus count as zero: the gradient that is left bends
#: symmetries, such as translations, by as much.
ZERO = 1e-7
#: Arrays of all configurations that a quench has at once, besides the pairs that L-BFGS remembers.
ARRAYS = 12


class InherentStructures(Probe):
    """Quenches all replicas, and measures where they end.

    Parameters
    ----------
    keys : RecordKeys
        When, and how; up to `hessian_exact` rows the index is found.
    ensemble : Ensemble
    system : System
    """

    keys: InherentKeys

    def __init__(self, keys: InherentKeys, ensemble: Ensemble, system: System) -> None:
        super().__init__("inherent", keys.inherent, keys)
        self.ensemble, self.system = ensemble, system

    def prepare(self, run: Run) -> None:
        """Make sure, before the first step, that there is a configuration, and room for its quench."""
        import psutil

        dof, keys = required(run, "record.inherent", "[]"), self.keys
        pairs = 2 * quenches.PAIRS if keys.inherent_method == "lbfgs" else 0
        needed = 8 * dof * self.ensemble.size * (ARRAYS + pairs)
        free = psutil.virtual_memory().available
        if needed > free:
            raise UserError(
                f"record.inherent_method = {keys.inherent_method!r}: a quench of {self.ensemble.size} "
                f"replicas of {dof} numbers needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
                'allowed: fewer replicas, ensemble.shards, or "descent", which needs less'
            )

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return what the file holds of the inherent structures of one time."""
        system, keys = self.system, self.keys
        assert isinstance(system, HasMinima), "else record.inherent is refused"
        start = np.array(run.configuration(), dtype=float)
        constrain = system.constrain if isinstance(system, HasConstraint) else None
        slopes = partial(_heeding, system, run.state)
        # One thread: the order of BLAS's sums, and with it the last bits, must not depend on their number.
        with single_blas():
            found = quenches.quench(
                slopes,
                start,
                keys.inherent_method,
                keys.inherent_tolerance,
                keys.inherent_evaluations,
                constrain,
            )
            self._require_finite(found.energy, stop.time)
            measured = {
                "inherent_energy": found.energy,
                "inherent_distance": np.sqrt(np.sum((found.x - start) ** 2, axis=1)),
                "inherent_gradient": found.gradient,
                "inherent_evaluations": found.evaluations.astype(float),
                **self._curvature(system.placed(run.state, found.x)),
            }
        return {name: ((), values) for name, values in measured.items()}

    def _require_finite(self, energy: Array, time: float) -> None:
        bad = np.flatnonzero(~np.isfinite(energy))
        if bad.size:
            label = self.ensemble.replica[bad[0]]
            raise Diverged(f"the quench of replica {label} at t = {time:g}: its energy is no finite number")

    def _curvature(self, state: State) -> dict[str, Array]:
        """Return the index, the number of zero modes, and the lowest other eigenvalue, where known."""
        system, keys = self.system, self.keys
        if not isinstance(system, HasHessian):
            return {}
        rows = []
        for position in range(self.ensemble.size):
            heed()
            hessian = system.hessian(state, position)
            if hessian.size > getattr(keys, "hessian_exact", 0):
                return {}
            rows.append(_counted(np.asarray(np.linalg.eigvalsh(hessian.dense()), dtype=np.float64)))
        index, zeros, lowest = np.array(rows).T
        return {"inherent_index": index, "inherent_zero_modes": zeros, "inherent_curvature": lowest}

    def attributes(self) -> Attributes:
        """Return the attributes of inherent structures; units are those of the energy and of the Hessian."""
        said = self.system.attributes()
        energy, curved = said.get("energy", {}), said.get("hessian", {})
        ended = (
            "quench by L-BFGS" if self.keys.inherent_method == "lbfgs" else "quench along the gradient flow"
        )
        examples = {name: energy[name] for name in ("examples", "examples_of") if name in energy}
        units = {"units": energy.get("units", "1")}
        zero = f"eigenvalues of the Hessian within {ZERO:g} of the largest modulus"
        return {
            "inherent_energy": {
                "long_name": f"{energy.get('long_name', 'energy')} of the inherent structure",
                "method": ended,
                "tolerance": self.keys.inherent_tolerance,
                **units,
                **examples,
                **said.get("inherent_energy", {}),
            },
            "inherent_distance": {
                "long_name": "distance of the configuration from its inherent structure",
                "units": said.get("configuration", {}).get("units", "1"),
            },
            "inherent_gradient": {
                "long_name": "root mean square gradient that is left at the inherent structure",
                "units": "1",
            },
            "inherent_evaluations": {"long_name": "gradients that the quench took", "units": "1"},
            "inherent_index": {
                "long_name": "index of the inherent structure",
                "definition": f"negative eigenvalues of the Hessian; {zero} are none",
                "units": "1",
            },
            "inherent_zero_modes": {
                "long_name": "zero modes of the inherent structure",
                "definition": zero,
                "units": "1",
            },
            "inherent_curvature": {
                "long_name": "lowest eigenvalue of the Hessian of the inherent structure, zero modes aside",
                "units": curved.get("units", "1"),
            },
        }


def _heeding(system: HasMinima, state: State, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return the slopes; a quench is long, and can be done again."""
    heed()
    return system.slopes(state, x, positions)


def _counted(values: Array) -> tuple[float, float, float]:
    """Return how many eigenvalues are negative, how many are zero, and the lowest that is not zero."""
    floor = ZERO * np.abs(values).max()
    apart = np.abs(values) > floor
    lowest = values[apart].min() if apart.any() else np.nan
    return float(np.sum(values < -floor)), float(np.sum(~apart)), float(lowest)
