"""Figures of response and fluctuations of every Langevin system: lines, units, limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.axes import Axes
from two_step import Q, T, X, two_lines, two_step

import langevin
from langevin import plotting
from langevin.commands.cli import main
from langevin.config.keys import Section, key
from langevin.core.noise import Noise
from langevin.core.system import Array, Model
from langevin.errors import UserError
from langevin.plotting.response import parts_of, units

Maker = Callable[..., dict[str, Any]]


class Displaced(Model):
    """Oscillators about a point far from the origin, so that C begins at its square, not at 1."""

    quenched_disorder = False

    class Parameters(Section):
        """What stands under [system]."""

        n: int = key("number", example=20, ge=1)
        centre: float = key("position of the minimum", example=3.7)

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Any) -> None:
        self.n, self.centre, self.ensemble = parameters.n, parameters.centre, ensemble

    def initial_configuration(self, noise: Noise) -> Array:
        """Draw x about the centre, at T = 4."""
        rows = [self.ensemble.quenched("start", k).standard_normal(self.n) for k in self.ensemble.replica]
        return self.centre + 2 * np.array(rows)

    def force(self, x: Array, t: float, noise: Noise | None) -> Array:
        """Return −(x − centre)."""
        return self.centre - x

    def energy(self, x: Array) -> Array:
        """Return the energy per oscillator."""
        return np.mean((x - self.centre) ** 2, axis=1) / 2


def run(system: dict[str, Any], **more: Any) -> xr.Dataset:
    record = {"waiting_times": {"start": 0.2, "stop": 4.0, "per_decade": 6}, "lags": {"per_decade": 8}}
    return langevin.run(
        {
            "system": system,
            "dynamics": {"temperature": 0.5, "dt": 0.05, "t_max": 6.0, **more.pop("dynamics", {})},
            "ensemble": {"replicas": 16, "samples": more.pop("samples", 1)},
            "record": {"response": True, "configurations": "never", **record, **more},
        }
    )


@pytest.fixture(scope="module")
def displaced() -> xr.Dataset:
    return run({"name": f"{__name__}:Displaced", "n": 20, "centre": 3.7})


def named(ax: Axes, begin: str) -> Any:
    (line,) = [line for line in ax.lines if str(line.get_label()).startswith(begin)]
    return np.array(line.get_data(), float)


@pytest.mark.parametrize(("temperature", "p", "aging"), [(0.5, 3, True), (0.8, 3, False), (0.5, 2, False)])
def test_a_quench_of_spins_has_the_lines_of_its_limit(temperature: float, p: int, aging: bool) -> None:
    ds = run({"name": "pspin", "p": p, "n": 12}, dynamics={"temperature": temperature})
    about = ds["integrated_response"].attrs
    assert about["temperature"] == temperature
    assert ({"q_ea", "fdt_ratio"} <= set(about)) == aging == ("plateau" in ds["correlation"].attrs)
    made = plotting.figure(ds)
    c, chi = named(made.axes[3], "FDT")
    np.testing.assert_allclose(chi, (1 - c) / temperature)
    labels = [str(line.get_label()) for ax in made.axes for line in ax.lines]
    assert any(label.startswith("slope") for label in labels) == aging
    if aging:
        assert (about["q_ea"], about["fdt_ratio"]) == pytest.approx((Q, X), abs=2e-6)
        c, chi = named(made.axes[3], "slope")
        assert (c[1], chi[1]) == pytest.approx((Q, (1 - Q) / T), abs=1e-5)
        assert "q_{EA}" in " ".join(text.get_text() for text in made.axes[2].texts)


def test_an_equilibrium_start_has_the_theorem_alone() -> None:
    ds = run({"name": "pspin", "p": 3, "n": 12}, dynamics={"temperature": 0.6, "initial_temperature": 0.6})
    assert not {"q_ea", "fdt_ratio"} & set(ds["integrated_response"].attrs)
    cold = run({"name": "pspin", "p": 3, "n": 12}, dynamics={"temperature": 0.0}, response=False)
    assert "plateau" not in cold["correlation"].attrs


def test_a_correlation_far_above_one_is_drawn_in_units_of_its_own(displaced: xr.Dataset) -> None:
    """C ≈ 14: the panels show C/C(t_w, t_w) and C/C(t, t), all of their points, and the FDT line."""
    assert float(displaced["correlation"].mean()) > 10
    _, _, correlation, response = plotting.figure(displaced).axes
    low, high = response.get_xlim()
    curves = [line for line in response.lines if len(line.get_xdata()) > 3]
    assert len(curves) > 3
    for line in curves:
        x, y = np.array(line.get_data(), float)
        assert low <= x.min() and x.max() <= high and np.ptp(x) > 0.1 * (high - low) / 5
        assert response.get_ylim()[0] <= y.min() and y.max() <= response.get_ylim()[1]
    c, chi = named(response, "FDT")
    np.testing.assert_allclose(chi, (1 - c) / 0.5)
    # At short lags the theorem holds: the first points lie on the line, one step of 0.05 away from C = 1.
    for line in curves:
        x, y = np.array(line.get_data(), float)
        assert y[0] == pytest.approx(0.05 / 13.7, rel=0.35)
        assert x[0] == pytest.approx(1, abs=0.01)
    starts = [line.get_ydata()[0] for line in correlation.lines if len(line.get_xdata()) > 3]
    np.testing.assert_allclose(starts, 1, atol=0.02)
    assert "C(t_w, t_w)" in correlation.get_ylabel() and "C(t_w+t, t_w+t)" in response.get_xlabel()


def test_units_are_told_from_rounding(displaced: xr.Dataset) -> None:
    assert units(run({"name": "pspin", "p": 3, "n": 12})) is None, "spins lie on a sphere"
    found = units(displaced)
    assert found is not None and float(found["at_end"].mean()) > 10
    assert units(displaced.drop_vars("msd")) is None
    # A run of no more than C and χ has no line that could be wrong, and no crash.
    plotting.figure(displaced.drop_vars("msd"))


def test_the_error_of_a_ratio_of_means_is_that_of_its_parts() -> None:
    """Numbers of mean 2 and 4 that move together: their ratio does not move at all."""
    noise = np.random.default_rng(1).standard_normal((50, 1))
    values, unit = (xr.DataArray(k * (1 + 0.1 * noise), dims=("replica", "lag")) for k in (2.0, 4.0))
    found = parts_of(values, unit)
    np.testing.assert_allclose(found, 0.5, rtol=1e-12)
    fixed = parts_of(values, xr.full_like(unit, 4.0))
    np.testing.assert_allclose(fixed.std("replica"), values.std("replica") / 4, rtol=1e-12)


def with_pairs(replicas: int = 4, temperature: float = T) -> xr.Dataset:
    """Curves of two straight lines: X is the same along the lag and at fixed t."""
    waiting, lags = np.geomspace(1, 1e4, 21), np.geomspace(1e-2, 1e5, 71)
    c = np.tile(two_step(waiting, lags), (replicas, 1, 1))
    dims = ("replica", "waiting_time", "lag")
    return xr.Dataset(
        {
            "energy": (("replica", "time"), np.zeros((replicas, 2))),
            "msd": (dims, 2 * (1 - c)),
            "correlation": (dims, c),
            "integrated_response": (
                dims,
                two_lines(c),
                {"temperature": temperature, "fdt_ratio": X, "q_ea": Q},
            ),
        },
        {"time": [0.0, 1.0], "waiting_time": waiting, "lag": lags},
        {"title": "two lines"},
    )


def test_both_ratios_stand_in_one_figure() -> None:
    made = plotting.figure(with_pairs(), "fdt")
    assert len(made.axes) == 3
    _, fixed, ratios = made.axes
    assert "observation time" in fixed.get_legend().get_title().get_text()  # type: ignore[union-attr]
    solid = [line for line in ratios.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 3]
    broken = [line for line in ratios.lines if line.get_linestyle() == "--" and len(line.get_xdata()) > 3]
    assert len(solid) >= 3 and len(broken) >= 3
    for line in (*solid, *broken):
        c, x = np.array(line.get_data(), float)
        below = c < Q - 0.15  # half of a window, and the interpolation between lags
        np.testing.assert_allclose(x[below], X, atol=0.03)


def test_without_pairs_at_one_time_x_is_along_the_lag() -> None:
    one = with_pairs().isel(waiting_time=[10])
    made = plotting.figure(one, "fdt")
    assert len(made.axes) == 2
    assert len(plotting.figure(with_pairs(temperature=0.0), "fdt").axes) == 3, "no T to multiply with"
    plotting.figure(one * np.nan, "fdt")


def test_who_has_these_figures(displaced: xr.Dataset, tmp_path: Path) -> None:
    assert {"fdt", "chi4"} & set(plotting.quantities(displaced)) == {"fdt"}, "N is not known"
    oscillators = run({"name": "harmonic", "n": 12}, snapshots=[6.0])
    assert {"fdt", "chi4"} <= set(plotting.quantities(oscillators))
    with pytest.raises(UserError, match="'chi4': not in the file"):
        plotting.figure(displaced, "chi4")
    scattering = oscillators.copy(deep=True)
    scattering["correlation"].attrs["kind"] = "self_intermediate_scattering"
    assert not {"fdt", "chi4"} & set(plotting.quantities(scattering))
    made = plotting.figure(oscillators, "chi4")
    assert len(made.axes) == 2 and "16 replicas" in made.axes[1].get_legend().get_texts()[0].get_text()
    file = tmp_path / "run.nc"
    oscillators.to_netcdf(file)
    for name in ("fdt", "chi4"):
        done = CliRunner().invoke(
            main, ["plot", str(file), "-o", str(tmp_path / f"{name}.png"), "--quantity", name]
        )
        assert done.exit_code == 0, done.output


def test_fluctuations_of_few_samples_are_said_to_be_few() -> None:
    ds = run({"name": "pspin", "p": 3, "n": 12}, samples=4)
    made = plotting.figure(ds, "chi4")
    (ax,) = made.axes
    words = " ".join(text.get_text() for text in ax.get_legend().get_texts())  # type: ignore[union-attr]
    assert "too few samples: 4 of at least 32" in words and "within samples" in words
    assert math.isclose(ax.get_ylim()[0], 0)
