"""Linear regression, whose response and displacements under SGD are known in closed form.

Two outputs of a linear net of three inputs, squared error: the gradient for the weights w of output k is
A w − b with A = ⟨x xᵀ⟩, b = ⟨x y_k⟩ over a batch, so that the two rows of weights do not meet. With batches
drawn independently and ē the mean over examples,

    w' = (1 − α A_n) w + α b_n,    ⟨R(n)⟩ = Σ_{k<n} α (1 − αĀ)^k = [1 − (1 − αĀ)^n] Ā⁻¹,

exactly for any α: A_n of different steps are independent. Stationary, with u = w − w* and e = A w* − b of one
example, the covariance S = ⟨u uᵀ⟩ is the solution of a discrete Lyapunov equation,

    S = (1 − αĀ) S (1 − αĀ) + (α²/B) [⟨a S a⟩ − Ā S Ā + ⟨e eᵀ⟩] + 2 T α,

a = x xᵀ of one example, C(n) = (1 − αĀ)^n S, and Δ(n) = 2 [S − C(n)] in the mean of its diagonal. With full
batches the bracket is absent, and S = T Ā⁻¹ (1 − αĀ/2)⁻¹.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from small_nets import built
from torch import nn

from langevin.config import run_files
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.systems.networks.data.base import Data, DataKeys, Examples

Array = NDArray[np.float64]

INPUTS, OUTPUTS = 3, 2
LAGS = [1, 2, 5, 12, 30]
_RNG = np.random.default_rng(4)
X = (_RNG.standard_normal((12, INPUTS)) * [1.4, 0.8, 0.5]).astype(np.float32)
Y = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1])


class Cloud(DataSet):
    """Twelve points in space, in two classes."""

    class Parameters(DataKeys):
        """Nothing of its own."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    def load(self, ensemble: Ensemble) -> Data:
        """Return the points."""
        points = Examples(X, Y.astype(np.int64))
        rows = {int(s): np.arange(len(X)) for s in np.unique(ensemble.sample)}
        one = np.ones(INPUTS, np.float32)
        return Data("cloud", points, points, OUTPUTS, one, 0 * one, rows, rows)


def linear() -> nn.Module:
    """Three weights for each of two outputs, no bias."""
    return nn.Linear(INPUTS, OUTPUTS, bias=False)


def given(replicas: int, record: dict[str, Any], **dynamics: Any) -> dict[str, Any]:
    """Return a run file of the regression, in double precision."""
    return {
        "system": {"name": "network", "module": "linear_regression:linear", "loss": "mse_loss"},
        "data": {"name": "linear_regression:Cloud"},
        "dynamics": {"precision": "double", "device": "cpu", **dynamics},
        "ensemble": {"replicas": replicas, "seed": 3},
        "record": {
            "response": True,
            "configurations": "never",
            "times": [1],
            "gradient_examples": 20,
            **record,
        },
    }


class Exact(NamedTuple):
    """Response and displacement per weight at some lags, and the rows of R."""

    response: Array
    msd: Array
    each: Array
    """⟨R(n)⟩ of the weights of one output, shape (lags, 3, 3)."""


def exact(lags: Any, rate: float, batch: int | None, temperature: float = 0.0) -> Exact:
    """Return the stationary closed forms; `batch` None: full batches."""
    x = X.astype(float)
    each = x[:, :, None] * x[:, None, :]
    mean, unit = each.mean(0), np.eye(INPUTS)
    step = unit - rate * mean
    powers = np.array([np.linalg.matrix_power(step, int(n)) for n in lags])
    response = (unit - powers) @ np.linalg.inv(mean)
    msd = np.zeros(len(powers))
    for k in range(OUTPUTS):
        y = (k == Y).astype(float)
        rest = np.linalg.solve(mean, (x * y[:, None]).mean(0))
        e = (x @ rest - y)[:, None] * x
        # Of S as a vector of 9 numbers: A S B is kron(A, Bᵀ) S, all matrices symmetric.
        advance, source = np.kron(step, step), 2 * temperature * rate * unit
        if batch is not None:
            spread = np.mean([np.kron(a, a) for a in each], axis=0) - np.kron(mean, mean)
            advance = advance + rate**2 / batch * spread
            source = source + rate**2 / batch * (e.T @ e) / len(e)
        s = np.linalg.solve(np.eye(INPUTS**2) - advance, source.ravel()).reshape(INPUTS, INPUTS)
        msd += 2 * np.trace((unit - powers) @ s, axis1=1, axis2=2) / INPUTS / OUTPUTS
    return Exact(np.trace(response, axis1=1, axis2=2) / INPUTS, msd, response)


def regression(replicas: int, waiting: int, record: Any = None, **keys: Any) -> xr.Dataset:
    """Take the linear net, whose response is known, through its lags; nothing else is measured."""
    keys = {"learning_rate": 0.3, "batches": "full", "t_max": waiting + LAGS[-1], **keys}
    times = {"waiting_times": [waiting], "lags": LAGS, "field": 1e-3}
    network, noise = built(run_files.load(given(replicas, {**times, **(record or {})}, **keys)))
    state = network.move(network.initial_state(noise), 0, waiting, noise)
    reference, now, found = network.reference(state), waiting, []
    for lag in LAGS:
        state, now = network.move(state, now, waiting + lag, noise), waiting + lag
        found.append(network.compare_at(reference, state, float(lag)))
    values = {name: np.stack([one[name] for one in found], axis=1) for name in found[0]}
    return xr.Dataset({name: (("replica", "lag"), v) for name, v in values.items()}, {"lag": LAGS})
