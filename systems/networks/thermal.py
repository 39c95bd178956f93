r"""A tiny fully connected net as a `Model`: everything that drives models drives it.

Its energy is the mean training loss of all its examples, and a penalty of the weights,

    E(w) = (1/P) Σ_μ ℓ(w; μ) + (λ/2) |w|²,

whose force is exact: no mini-batches. With a temperature its law is e^{−E/T}, where this can be normalised:
with λ > 0, or a loss that grows in every direction. So replica exchange and annealing mean for it what they
mean for glasses. The noise of SGD depends on the weights and leaves no known law: a swap between two rates
would have no exact acceptance. In Bayes' words e^{−E/T} at T = 1/P is the posterior of a likelihood e^{−ℓ}.

With λ > 0 equipartition holds of the penalty and the loss together, ⟨w·∇E⟩ = M T: a check of any run. Of
squares and no hidden layer E is quadratic, and ⟨E⟩ = E_min + M T/2 (to O(dt)).

All weights are in double precision, in closed form (`measure.perceptron_slope`); at most some thousands.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from langevin.config.keys import Section, key
from langevin.config.sections import LangevinDynamics
from langevin.config.settings import Settings
from langevin.core.capabilities import ChecksSettings, DescribesVariables, HasSlopes, LearnsFromData
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.system import Array, Attributes, Model
from langevin.errors import UserError
from langevin.machine.blas import single_blas
from langevin.machine.later import callables

if TYPE_CHECKING:
    from .data.base import Data
    from .descent.perceptron import Shape
    from .measure.perceptron_slope import slopes
else:
    (Shape,) = callables("langevin.systems.networks.descent.perceptron", "Shape")
    (slopes,) = callables("langevin.systems.networks.measure.perceptron_slope", "slopes")


class ThermalKeys(Section):
    """What stands under [system]."""

    widths: list[Annotated[int, Field(ge=1, le=1000)]] = key(
        "units of the hidden layers, in turn; [] is a linear net",
        default=[5],
        kind="list of integers 1 … 1000",
    )
    activation: Literal["relu", "tanh"] = key("activation of the hidden units", default="tanh")
    loss: Literal["cross_entropy", "mse_loss", "quadratic_hinge"] = key(
        "loss of an example; quadratic_hinge is of two classes and one output", default="cross_entropy"
    )
    margin: float = key('margin ε that loss = "quadratic_hinge" asks for', default=1.0, gt=0)
    penalty: float = key("λ of the penalty (λ/2)|w|² of all weights and biases", default=0.0, ge=0)


class ThermalNet(Model, ChecksSettings, LearnsFromData, HasSlopes, DescribesVariables):
    """A tiny fully connected net under Langevin dynamics of its mean training loss."""

    Parameters = ThermalKeys
    data: ClassVar[str] = "ljat"

    def __init__(self, parameters: Any, dynamics: LangevinDynamics, ensemble: Ensemble, data: Data) -> None:
        self.keys, self.ensemble, self.given = parameters, ensemble, data
        outputs = _outputs(data, parameters.loss)
        self.sizes = (int(np.prod(data.train.inputs.shape[1:])), *parameters.widths, outputs)
        self.dof = sum((a + 1) * b for a, b in pairwise(self.sizes))
        self.shape = Shape(self.sizes, parameters.activation, "none", parameters.loss)
        self.inputs, self.labels = self._examples(data)
        self._known: tuple[Array, Array, Array] | None = None

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield that there is no equilibrium to start from."""
        start = settings.dynamics.initial_temperature
        if np.isfinite(start):
            yield f"dynamics.initial_temperature = {start:g}: allowed: inf, a random net"

    def _examples(self, data: Data) -> tuple[Array, NDArray[np.int64]]:
        """Return inputs, shape (R, n_0, P), and labels, shape (R, P), of all replicas."""
        inputs, labels = [], []
        assert data.train.labels is not None
        for sample in self.ensemble.sample:
            rows = data.rows[int(sample)]
            own = data.scaled(data.train.inputs[rows]).reshape(len(rows), -1)
            inputs.append(np.asarray(own, dtype=np.float64).T)
            labels.append(data.train.labels[rows])
        return np.ascontiguousarray(inputs), np.asarray(labels, dtype=np.int64)

    def initial_configuration(self, noise: Noise) -> Array:
        """Return weights uniform in ±√(6/(inputs + outputs)) of their layer, and biases 0, shape (R, M)."""
        rows = []
        for k in self.ensemble.replica:
            rng, parts = self.ensemble.quenched("start", k), []
            for a, b in pairwise(self.sizes):
                parts += [rng.uniform(-1, 1, a * b) * np.sqrt(6 / (a + b)), np.zeros(b)]
            rows.append(np.concatenate(parts))
        return np.array(rows)

    def _at(self, x: Array, positions: NDArray[np.int64] | slice) -> tuple[Array, Array]:
        """Return the losses, and the gradients of E, of configurations of some replicas."""
        with single_blas(), np.errstate(over="ignore", invalid="ignore"):
            loss, gradient = slopes(
                x, self.shape, self.inputs[positions], self.labels[positions], self.keys.margin
            )
            gradient += self.keys.penalty * x
        return loss, gradient

    def _evaluated(self, x: Array) -> tuple[Array, Array]:
        # Measurements and the next step ask at the same x; configurations are never changed in place.
        if self._known is None or self._known[0] is not x:
            self._known = (x, *self._at(x, slice(None)))
        return self._known[1:]

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        """Return −∇E, shape (R, M)."""
        return -self._evaluated(x)[1]

    def energy(self, x: Array) -> Array:
        """Return the mean training loss, shape (R,), as networks measure it: without the penalty."""
        return self._evaluated(x)[0].copy()

    def total_energy(self, x: Array) -> Array:
        """Return E, the mean training loss and the penalty, shape (R,)."""
        penalty: Array = self.keys.penalty / 2 * np.sum(x * x, axis=1)
        return self._evaluated(x)[0] + penalty

    def slopes(self, x: Array, positions: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the losses, and ∇E, of configurations x, shape (n, M), of the replicas at some positions."""
        return self._at(x, positions)

    def attributes(self) -> Attributes:
        """Say what is measured, and of how many weights and examples."""
        examples = {"examples": self.labels.shape[1], "examples_of": "training"}
        return {
            "energy": {"long_name": "training loss", "units": "1", **examples},
            "configuration": {"long_name": "weights and biases", "units": "1"},
            "correlation": {"dof": self.dof},
        }


def _outputs(data: Data, loss: str) -> int:
    """Return how many outputs tell the classes apart.

    Raises
    ------
    UserError
        If the data have no class for each example, or too many for the loss.
    """
    labels = data.train.labels
    classified = labels is not None and labels.ndim == 1 and data.classes > 0
    if not classified or data.train.inputs.dtype == np.int64:
        raise UserError(
            f"data.name = {data.name!r}: allowed with thermal_mlp: data with a class for each example, whose "
            "inputs are real numbers"
        )
    if loss == "quadratic_hinge" and data.classes != 2:
        raise UserError(
            'system.loss = "quadratic_hinge": tells two classes apart, by the sign of one output; the data '
            f"have {data.classes} classes"
        )
    return 1 if loss == "quadratic_hinge" else int(data.classes)
