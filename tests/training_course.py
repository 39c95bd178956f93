"""A training run of the schema, made up: every number in it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

T1, T2, ALPHA, BATCH = 100.0, 1e4, 0.1, 32


def training(
    waiting_times: int = 6, replicas: int = 4, *, bottom: bool = True, noise: bool = True, floor: float = 1e-4
) -> xr.Dataset:
    """Return losses, accuracies, displacements and gradient noise.

    Over-parametrised (`bottom`): the loss is a ramp from T1 to T2, the end of which is `floor`, and after T2
    the weights diffuse. Under-parametrised: the loss falls for ever, and the weights age at lags beyond t_w.
    Replicas differ by some percent.
    """
    t = np.unique(np.round(np.geomspace(1, 1e6, 97)))
    w = np.unique(np.round(np.geomspace(10, 1e5, waiting_times)))
    time, lag = np.concatenate([[0], t]), t[t <= 9e5]
    rng = np.random.default_rng(1)
    factor = 1 + 0.02 * rng.standard_normal((replicas, 1)) * (replicas > 1)
    down = np.log(np.maximum(time, 1) / (T1 * factor)) / np.log(T2 / T1)
    loss = factor * (2.3 - (2.3 - floor) * np.clip(down, 0, 1 if bottom else 3) / (1 if bottom else 4))
    test = 0.3 + 0.95 * loss
    d = np.tile(1e-2 / (1 + w / T2), (replicas, 1)) * factor
    shape = (
        np.where(w < T2, 1 + lag[:, None] / (1 + lag[:, None] / w), 1.0).T
        if bottom
        else 1 / (1 + lag / w[:, None])
    )
    msd = d[..., None] * ALPHA**2 / BATCH * lag * shape
    units = {"units": "steps"}
    two_time, about = ("replica", "waiting_time", "lag"), {"learning_rate": ALPHA, "batch_size": BATCH}
    variables: dict[str, Any] = {
        "energy": (("replica", "time"), loss, {"long_name": "training loss"}),
        "test_loss": (("replica", "time"), test, {"long_name": "test loss"}),
        "train_accuracy": (("replica", "time"), 1 - 0.39 * loss),
        "test_accuracy": (("replica", "time"), 1 - 0.39 * test),
        "msd": (two_time, msd, {"long_name": "mean square displacement per weight"}),
        "correlation": (two_time, 1 / (1 + msd), {"long_name": "weight correlation"}),
    }
    if noise:
        variables["gradient_noise"] = (("replica", "waiting_time"), d, about)
        variables["gradient_noise_error"] = (("replica", "waiting_time"), 0.03 * d)
    coordinates = {
        "replica": np.arange(replicas),
        "time": ("time", time, units),
        "waiting_time": ("waiting_time", w, units),
        "lag": ("lag", lag, units),
    }
    return xr.Dataset(variables, coordinates, {"title": "a net, trained"})
