"""The figure of aging and its line in the summary: numbers are those of the analysis, nothing overlaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.figure import Figure
from test_plotting import assert_inside_and_apart

from langevin import plotting
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.observables.aging import aging_collapse, aging_exponent
from langevin.results import exponent_words, summary

MU, NU = 0.7, 0.5


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a fifth of the resamples: figures are looked at, not error bars."""
    monkeypatch.setattr("langevin.plotting.aging.RESAMPLES", 100)


WAITING, LAGS = np.geomspace(10, 1e4, 7), np.geomspace(1, 1e6, 61)


def subaging(replicas: int = 20, waiting: Any = WAITING) -> xr.Dataset:
    """A file of the schema with t* ~ t_w^0.7; the run ends at 10⁶."""
    rng = np.random.default_rng(1)
    factor = np.exp(0.3 * rng.standard_normal((replicas, len(waiting), 1)) * (replicas > 1))
    msd = 1e-3 * (LAGS / np.maximum(waiting, 1.0)[:, None] ** MU) ** NU * factor
    units = {"units": "steps"}
    time = np.geomspace(1, 1e6, 30)
    return xr.Dataset(
        {
            "energy": (("replica", "time"), np.tile(1 / (1 + np.log(time)), (replicas, 1))),
            "msd": (
                ("replica", "waiting_time", "lag"),
                np.where(np.asarray(waiting)[:, None] + LAGS <= 1e6, msd, np.nan),
                {"long_name": "mean square displacement per weight", "units": "1"},
            ),
        },
        {
            "replica": np.arange(replicas),
            "time": ("time", time, units),
            "waiting_time": ("waiting_time", np.asarray(waiting), units),
            "lag": ("lag", LAGS, units),
        },
        {"title": "subaging, made up"},
    )


def legend(made: Figure, panel: int) -> str:
    return "\n".join(t.get_text() for t in made.axes[panel].get_legend().get_texts())  # type: ignore[union-attr]


def solved() -> xr.Dataset:
    """A solution: one replica, with its numerical error."""
    ds = subaging(1)
    return ds.assign(msd_error=(1e-4 * ds["msd"]).assign_attrs(long_name="error of msd", units="1"))


@pytest.mark.parametrize("replicas", [1, 20])
def test_the_figure_shows_the_numbers_of_the_analysis(replicas: int) -> None:
    ds = subaging(replicas) if replicas > 1 else solved()
    fit, made = (
        aging_exponent(ds["msd"], resamples=100, accuracy=ds.get("msd_error")),
        plotting.figure(ds, "aging"),
    )
    crossings, times, collapse, exponents = made.axes
    assert [ax.get_title(loc="left") for ax in made.axes] == ["(a)", "(b)", "(c)", "(d)"]
    marks = next(line for line in crossings.lines if line.get_label() == "$t^*$")
    np.testing.assert_allclose(marks.get_xdata(), fit["relaxation_time"])
    np.testing.assert_allclose(np.asarray(marks.get_ydata()), float(fit["threshold"]))
    assert f"$\\mu$ = {exponent_words.exponent(fit)}" in legend(made, 1)
    for name, word in (("", "numerical" if replicas == 1 else "statistics"), ("drift_", "drift")):
        error = float(fit[f"exponent_{name}error"])
        assert f"{word} {error:.3f}" in legend(made, 1) or error < 5e-4
    assert f"halves of $t_w$: {exponent_words.halves(fit)}" in legend(made, 1)
    power = next(line for line in times.lines if "mu" in str(line.get_label()))
    (x0, x1), (y0, y1) = np.asarray(power.get_data(), float)
    assert np.log(y1 / y0) / np.log(x1 / x0) == pytest.approx(float(fit["exponent"]))
    assert y0 == pytest.approx(float(fit["prefactor"] * x0 ** fit["exponent"]))
    guide = next(line for line in times.lines if "propto" in str(line.get_label()))
    (x0, x1), (y0, y1) = np.asarray(guide.get_data(), float)
    assert y1 / y0 == pytest.approx(x1 / x0)
    assert y0 == pytest.approx(float(fit["relaxation_time"][0])), "from the first point on"
    # Curves on one: at equal scaled lags, equal heights (to the noise of 20 replicas, 7 %: 5 σ).
    ends = [np.interp(0.5, *np.asarray(line.get_data(), float)) for line in collapse.lines]
    assert len(ends) == 7 and np.ptp(np.log(ends)) < (2 * 5 * 0.07 if replicas > 1 else 1e-2)
    judged = aging_collapse(ds["msd"], accuracy=ds.get("msd_error"))
    told = "spread_high" if replicas > 1 and float(judged["spread_low"]) == 0 else "spread"
    assert f"{100 * float(judged[told]):.2g}" in legend(made, 2)
    assert "range of" in legend(made, 3) and exponents.get_ylim()[1] > 1
    assert_inside_and_apart(made)


def test_a_threshold_of_ones_own(tmp_path: Path) -> None:
    ds = subaging()
    made = plotting.figure(ds, "aging", threshold=2e-3)
    assert r"$\Delta^*$ = $2\times 10^{-3}$" in legend(made, 0)
    file = tmp_path / "run.nc"
    ds.to_netcdf(file)
    done = CliRunner().invoke(main, ["plot", str(file), "--quantity", "aging", "--threshold", "2e-3"])
    assert done.exit_code == 0 and (tmp_path / "run-aging.png").exists(), done.output
    for options, told in (
        (["--quantity", "aging", "--threshold", "-1"], "--threshold -1: must be > 0"),
        (
            ["--quantity", "aging", "--threshold", "5"],
            "0 waiting times reach the threshold 5; needed: 4 or more",
        ),
        (["--threshold", "5"], "--threshold 5: allowed with --quantity aging only"),
    ):
        done = CliRunner().invoke(main, ["plot", str(file), "-o", str(tmp_path / "other.png"), *options])
        assert done.exit_code == 2 and told in done.output and done.output.count("\n") == 1, done.output


def test_files_without_enough_waiting_times_have_no_such_figure() -> None:
    assert "aging" in plotting.quantities(subaging(waiting=[0, 10, 100, 1000, 10000]))
    few = subaging(waiting=[0, 10, 100, 1000])
    assert "aging" not in plotting.quantities(few) and "aging:" not in summary.results(few)
    with pytest.raises(UserError, match=r"'aging': not in the file; allowed: msd, energy$"):
        plotting.figure(few, "aging")


def bent() -> xr.Dataset:
    """Exponents 1.1 and 0.3 of the two halves of the waiting times."""
    ds = subaging()
    x = np.log(WAITING)
    bend = np.exp(NU * 0.12 * (x - x.mean()) ** 2)
    return ds.assign(msd=(ds["msd"] * bend[:, None]).assign_attrs(ds["msd"].attrs))


def constant() -> xr.Dataset:
    ds = subaging()
    return ds.assign(msd=(xr.zeros_like(ds["msd"]) + 1.0).assign_attrs(ds["msd"].attrs))


@pytest.mark.parametrize(
    ("ds", "why"),
    [
        (bent(), "in the two halves of the waiting times"),
        (subaging(2), "too few samples: 2 of at least 6"),
        (subaging(1), "too few samples: 1 of at least 6"),
        (constant(), "no threshold that 4 or more waiting times > 0 cross"),
    ],
    ids=["bent", "two replicas", "one replica", "constant"],
)
def test_without_an_exponent_the_figure_and_the_summary_say_why(
    ds: xr.Dataset, why: str, tmp_path: Path
) -> None:
    made = plotting.figure(ds, "aging")
    assert_inside_and_apart(made)
    assert why in " ".join(legend(made, 1).split()) and "$\\mu$ =" not in legend(made, 1)
    assert not any("mu" in str(line.get_label()) for line in made.axes[1].lines)
    (line,) = (line for line in summary.results(ds).splitlines() if line.startswith("aging:"))
    assert line.startswith("aging: no exponent of t*(t_w): ") and why in line and "μ =" not in line
    if why.startswith("no threshold"):
        return
    fit = aging_exponent(ds["msd"], resamples=100)
    local = fit["local_exponent"].to_numpy()[1:-1]
    for value in (local[0], local[-1]):
        assert f"{value:.2f}" in line and f"{value:.2f}" in legend(made, 1)
    assert len(made.axes[3].lines[0].get_xdata()) == 40, "μ against the threshold is drawn"
    file = tmp_path / "run.nc"
    ds.to_netcdf(file)
    done = CliRunner().invoke(main, ["plot", str(file), "--quantity", "aging"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("waiting_times", [4, 12, 30])
def test_any_number_of_waiting_times_fits(waiting_times: int) -> None:
    made = plotting.figure(subaging(waiting=np.geomspace(1, 1e5, waiting_times)), "aging")
    assert_inside_and_apart(made)


def test_the_summary_says_how_it_ages() -> None:
    ds = subaging()
    line = summary.results(ds).splitlines()[-1]
    fit = aging_exponent(ds["msd"], resamples=200)
    number, errors, late = (
        exponent_words.exponent(fit),
        exponent_words.parts(fit, False),
        exponent_words.halves(fit),
    )
    level = f"Δ* = {float(fit['threshold']):.3g}"
    assert line == f"aging: t* ~ t_w^μ, μ = {number} ({errors}; {level}; halves of t_w: {late})"
    assert float(number.split(" ± ")[1]) == pytest.approx(float(fit["exponent_total_error"]), abs=5e-4)
    assert "numerical" in summary.results(solved()).splitlines()[-1]
    summary.results(ds * np.nan)


def swept(values: list[Any]) -> xr.Dataset:
    """Members that age with exponents 0.7, 0.9, …"""
    parts = []
    for k, _ in enumerate(values):
        part = subaging()
        # Another power: curves of t_w are shifted by t_w^0.2 for each member.
        shift = part["waiting_time"] ** (-0.2 * k * NU)
        parts.append(part.assign(msd=(part["msd"] * shift).assign_attrs(part["msd"].attrs)))
    made = xr.concat(parts, xr.DataArray(values, dims="widths", name="widths"), combine_attrs="override")
    return made.assign_attrs(sweep_dimensions="widths")


@pytest.mark.parametrize("values", [["4", "5,5", "7,7,7"], [4.0, 8.0, 16.0]], ids=["labels", "numbers"])
def test_a_sweep_shows_the_exponent_of_every_member(values: list[Any], tmp_path: Path) -> None:
    ds = swept(values)
    made = plotting.figure(ds, "aging", 0.02)
    times, exponents = made.axes
    drawn = [float(c.lines[0].get_ydata()[0]) for c in exponents.containers]  # type: ignore[union-attr,index]
    expected = [
        float(aging_exponent(ds["msd"].isel(widths=k), 0.02, resamples=10)["exponent"]) for k in range(3)
    ]
    assert drawn == pytest.approx(expected)
    # Means of 20 factors e^{0.3 η} scatter ln t* by 0.13, and the power of seven, or of five, by 0.03.
    assert expected == pytest.approx([0.7, 0.9, 1.1], abs=4 * 0.03)
    assert "0.02" in exponents.get_ylabel()
    assert times.get_xscale() == times.get_yscale() == "log"
    assert [t.get_text() for t in made.legends[0].get_texts()] == [
        v if isinstance(v, str) else f"{v:g}" for v in values
    ]
    assert_inside_and_apart(made)
    assert plotting.save(ds, tmp_path / "a.png", "aging").exists()


def test_a_sweep_that_does_not_reach_the_threshold_says_so() -> None:
    with pytest.raises(UserError, match="no member has 4 waiting times that reach a threshold"):
        plotting.figure(swept(["4", "5"]), "aging", 1e9)


def test_a_short_range_of_waiting_times_is_labelled_without_overlap() -> None:
    ds = subaging(waiting=np.geomspace(5000, 5e4, 11))
    made = plotting.figure(ds, "aging")
    made.draw_without_rendering()
    labels = [t.get_text() for t in made.axes[1].xaxis.get_ticklabels() if t.get_text()]
    assert any("10^{4}" in text for text in labels)
    assert_inside_and_apart(made)
