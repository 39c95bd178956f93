"""The trainings of a sweep in one figure: a curve for each member, colours and dashes by what was swept."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from langevin import plotting
from langevin.errors import UserError
from langevin.plotting.style import PALETTE
from langevin.results.members import DIMENSIONS

LABELS, INPUTS = ["given", "shuffled", "teacher"], ["given", "gaussian_matched"]


def swept() -> xr.Dataset:
    """Return a sweep of six trainings, each with a loss, noise and displacements of its own size."""
    rng, shape = np.random.default_rng(1), (len(LABELS), len(INPUTS))
    time, waiting, lag = np.arange(1.0, 6.0), np.array([1.0, 2.0, 4.0, 8.0]), np.geomspace(1, 100, 9)
    size = 1.0 + np.arange(6.0).reshape(*shape, 1, 1)
    dims = ("labels", "inputs", "replica")
    scatter = 1 + 0.01 * rng.standard_normal((*shape, 3, 1))
    variables = {
        "energy": ((*dims, "time"), size * scatter / time),
        "test_accuracy": ((*dims, "time"), 0.1 * size * scatter + 0 * time),
        "gradient_noise": ((*dims, "waiting_time"), size * scatter * waiting),
        "msd": (
            (*dims, "waiting_time", "lag"),
            size[..., None] * scatter[..., None] * lag / waiting[:, None],
        ),
    }
    coordinates = {"labels": LABELS, "inputs": INPUTS, "time": time, "waiting_time": waiting, "lag": lag}
    return xr.Dataset(variables, {**coordinates, "replica": np.arange(3)}, {DIMENSIONS: "labels inputs"})


def test_every_member_has_its_curve() -> None:
    dataset = swept()
    figure = plotting.figure(dataset, "training")
    loss, accuracy, noise, aging = figure.axes
    for ax, name, x in (
        (loss, "energy", "time"),
        (accuracy, "test_accuracy", "time"),
        (noise, "gradient_noise", "waiting_time"),
    ):
        assert len(ax.lines) == 6
        for k, line in enumerate(ax.lines):
            i, j = divmod(k, 2)
            assert (line.get_color(), line.get_linestyle()) == (PALETTE[i], ("-", "--")[j])
            np.testing.assert_array_equal(line.get_xdata(), dataset[x])
            mean = dataset[name].isel(labels=i, inputs=j).mean("replica")
            np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-12)
    assert len(aging.containers) == 6
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{a}, {b}" for a in LABELS for b in INPUTS]


def test_a_sweep_without_gradient_noise_has_none() -> None:
    with pytest.raises(UserError, match="quantity='training': not in the file; allowed of a sweep"):
        plotting.figure(swept().drop_vars("gradient_noise"), "training")
