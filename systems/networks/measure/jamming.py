r"""Probes of a net at the jamming transition: its gaps, the two parts of its Hessian, its effective weights.

A run file names them under [record.probes.NAME], with the times at which they are taken:

    use = "langevin.systems.networks.measure.jamming:Gaps"

With Δ_μ = ε − y_μ f_μ the gaps of `nets.margins`, the Hessian of the quadratic hinge is

    H = H₀ + H_p,    H₀ = (1/P) Σ_{Δ_μ > 0} ∇f_μ ∇f_μᵀ,    H_p = −(1/P) Σ_{Δ_μ > 0} y_μ Δ_μ ∇∇f_μ

(Geiger et al., Phys. Rev. E 100, 012115 (2019), eq. (8)). H₀ is the Gauss-Newton matrix, of a rank of N_Δ at
most, and H_p what is left of H: it vanishes with the gaps. A minimum that is stable has
N_Δ ≥ the number of negative eigenvalues of H_p, which is their bound on N_Δ/N above the transition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from langevin.config.keys import Section, key
from langevin.core.capabilities import HasGaussNewton, HasHessian
from langevin.core.probe import Probe, Run, Taken
from langevin.core.schedule import Stop
from langevin.core.system import Array, Attributes
from langevin.errors import UserError
from langevin.machine.blas import single_blas
from langevin.machine.later import later

if TYPE_CHECKING:
    import torch

    from . import gaps
else:
    torch = later("torch")
    gaps = later(f"{__package__}.gaps")

#: Rows of a Hessian that is made whole.
MOST_ROWS = 4000


class OfSigned(Probe):
    """What is taken of a network whose loss has a margin."""

    def prepare(self, run: Run) -> None:
        """Make sure that the run has gaps."""
        self.network(run)

    def network(self, run: Run) -> gaps.OfGaps:
        """Return the network of a run.

        Raises
        ------
        UserError
            If its loss has no margin.
        """
        network: Any = run.system
        if not getattr(getattr(network, "loss", None), "signed", False):
            raise UserError('takes gaps to a margin; allowed: networks with system.loss = "quadratic_hinge"')
        found: gaps.OfGaps = network
        return found


class Gaps(OfSigned):
    """The gaps Δ of all training patterns."""

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return them, in the order of the patterns."""
        return {"gap": (("pattern",), np.stack(gaps.of_replicas(self.network(run), run.state)))}

    def attributes(self) -> Attributes:
        """Return the attributes of the gaps."""
        return {
            "gap": {
                "long_name": "gap of a pattern to its margin, ε − y f; unsatisfied where positive",
                "symbol": r"$\Delta$",
                "units": "1",
            }
        }


class CurvatureParts(Probe):
    """All eigenvalues of H₀, the Gauss-Newton matrix, and of H_p = H − H₀, of small systems."""

    def prepare(self, run: Run) -> None:
        """Make sure that the system has both matrices, and that they are small."""
        if not (isinstance(run.system, HasHessian) and isinstance(run.system, HasGaussNewton)):
            raise UserError("takes the parts of a Hessian; allowed: systems with a Gauss-Newton matrix")
        system: Any = run.system
        if system.dof > MOST_ROWS:
            raise UserError(f"makes matrices of {system.dof} rows; allowed: up to {MOST_ROWS}")

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return the eigenvalues, ascending."""
        with single_blas():
            rows = [self._parts(run, position) for position in range(run.ensemble.size)]
        return {
            name: (("mode",), np.stack([row[k] for row in rows]))
            for k, name in enumerate(("gauss_newton_part", "remaining_part"))
        }

    @staticmethod
    def _parts(run: Run, position: int) -> tuple[Array, Array]:
        system: Any = run.system
        whole = system.hessian(run.state, position).dense()
        part = system.gauss_newton(run.state, position).dense()
        first, second = (np.linalg.eigvalsh((m + m.T) / 2) for m in (part, whole - part))
        return first, second

    def attributes(self) -> Attributes:
        """Return the attributes of both spectra."""
        return {
            "gauss_newton_part": {
                "long_name": "eigenvalue of H₀, the Gauss-Newton part of the Hessian",
                "units": "1",
            },
            "remaining_part": {"long_name": "eigenvalue of H_p = H − H₀", "units": "1"},
        }


class EffectiveWeights(OfSigned):
    """The rank of the tangent features ∂f_μ/∂w of all patterns: the weights that count."""

    class Parameters(Section):
        """Keys of its own."""

        tolerance: float = key(
            "singular values count from this part of the largest on", default=1e-8, gt=0, lt=1
        )

    def take(self, run: Run, stop: Stop) -> Taken:
        """Return the rank of each replica."""
        network = self.network(run)
        ranks = [self._rank(network, run.state, position) for position in range(run.ensemble.size)]
        return {"effective_weights": ((), np.array(ranks, dtype=float))}

    def _rank(self, network: gaps.OfGaps, state: Any, position: int) -> int:
        from torch.func import jacrev

        twin = network.twin
        beside: Mapping[str, Any] = dict(zip(twin.beside, (b[position] for b in state.buffers), strict=True))
        inputs, _ = twin.gather(network.all_examples(position))
        weights = state.weights[position].double()

        def outputs(flat: torch.Tensor) -> torch.Tensor:
            called: torch.Tensor = twin.layout.call(twin.module, twin.layout.views(flat), inputs, beside)
            return called.squeeze(-1)

        with twin.limited(len(inputs)):
            features = jacrev(outputs, chunk_size=64)(weights)
            values = torch.linalg.svdvals(features)
        return int((values > self.keys.tolerance * values[0]).sum())

    def attributes(self) -> Attributes:
        """Return the attributes of the rank."""
        return {
            "effective_weights": {
                "long_name": "rank of the derivatives of all outputs by the weights",
                "units": "1",
            }
        }
