"""Sweeps over a rate of cooling: final energies, the lines of theory, and two sweeps side by side."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import SIGMAS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_plotting import assert_inside_and_apart

import langevin
from langevin import plotting
from langevin.analysis.compare import figure as drawing
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.results.members import shortened_labels
from langevin.systems.pspin import theory

RATES = [10.0, 1.0, 0.1]
COOLED = {"protocol": "anneal", "from": 1.0, "to": 0.2, "rate": 1.0}


def swept(system: dict[str, Any], seed: int = 1, rates: list[float] = RATES, **further: Any) -> Any:
    """Return a sweep over rates of cooling from T = 1 to 0.2."""
    return langevin.run(
        {
            "title": f"cooled, {system['name']}",
            "sweep": {
                "annealing": {
                    "dynamics.temperature.rate": rates,
                    "dynamics.t_max": [round(0.8 / rate, 9) for rate in rates],
                },
                **further,
            },
            "system": system,
            "dynamics": {"temperature": COOLED, "initial_temperature": 1.0, "dt": 0.02},
            "ensemble": {"replicas": 12, "samples": 12, "seed": seed},
            "record": {
                "waiting_times": [],
                "lags": [],
                "times": {"per_decade": 10},
                "configurations": "never",
            },
        },
        executor="in_process",
    )


@pytest.fixture(scope="module")
def spins() -> xr.Dataset:
    """Return the 3-spin model of two sizes, at rates over two decades."""
    sizes = {"system.n": [16, 24], "ensemble.seed": [5, 6]}
    dataset: xr.Dataset = swept({"name": "pspin", "p": 3}, size=sizes)
    return dataset


@pytest.fixture(scope="module")
def springs() -> tuple[xr.Dataset, xr.Dataset]:
    """Return oscillators of two seeds."""
    return swept({"name": "harmonic", "n": 200}, 1), swept({"name": "harmonic", "n": 200}, 2)


def test_files_state_what_slow_cooling_and_equilibrium_end_at(spins: xr.Dataset) -> None:
    about = spins["energy"].attrs
    assert about["threshold_at_end"] == theory.asymptotic_energy(3, 0.2)
    assert about["equilibrium_at_end"] == theory.broken_energy(3, 0.2)
    assert "T = 0.2" in about["threshold_at_end_meaning"]


@pytest.mark.parametrize(
    ("system", "dynamics", "known"),
    [
        # The run ends on the way, at T = 0.9: above T_d both are one.
        ({"p": 3}, {"t_max": 0.1}, {"equilibrium_at_end"}),
        ({"p": 3}, {"temperature": 0.3}, set()),
        # A planted state below T_d is followed: it is no marginal one.
        ({"p": 3}, {"initial_temperature": 0.6}, set()),
        ({"p": {"3": 1.0, "4": 1.0}}, {}, set()),
        ({"p": 2}, {"initial_temperature": float("inf")}, set()),
    ],
)
def test_where_no_limit_is_known_none_is_stated(
    system: dict[str, Any], dynamics: dict[str, Any], known: set[str]
) -> None:
    given = {"temperature": COOLED, "initial_temperature": 1.0, "dt": 0.02, "t_max": 0.8, **dynamics}
    record = {"waiting_times": [], "lags": [], "times": [0.1], "configurations": "never"}
    dataset = langevin.run(
        {"system": {"name": "pspin", "n": 12, **system}, "dynamics": given, "record": record}
    )
    assert {name for name in dataset["energy"].attrs if name.endswith("_at_end")} == known


def test_energies_stand_against_temperature_and_rate(spins: xr.Dataset) -> None:
    drawn = plotting.figure(spins)
    courses, final, above = drawn.axes
    assert courses.get_xlabel() == "temperature $T(t)$"
    # A colour for each rate, dashes for each size.
    assert len(courses.get_lines()) == 6
    assert {line.get_ls() for line in courses.get_lines()} == {"-", "--"}
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["10", "1", "0.1"]
    for line in courses.get_lines():
        assert (float(np.min(line.get_xdata())), float(np.max(line.get_xdata()))) == pytest.approx((0.2, 1.0))
    assert final.get_xscale() == above.get_xscale() == above.get_yscale() == "log"
    assert final.get_yscale() == "linear"
    words = final.get_legend_handles_labels()[1]
    assert words[:2] == ["n = 16", "n = 24"]
    assert [text.get_text()[-7:] for text in final.texts] == ["−1.0525", "−1.0696"]
    low, high = final.get_ylim()
    assert low < theory.broken_energy(3, 0.2) < high
    # The line through the sizes is that of the last energies, ascending in the rate.
    mean = spins["energy"].isel(size=0).mean("replica")
    last = [float(mean.isel(annealing=k).dropna("time")[-1]) for k in (2, 1, 0)]
    np.testing.assert_allclose(final.get_lines()[0].get_ydata(), last, rtol=1e-12)
    threshold = theory.asymptotic_energy(3, 0.2)
    np.testing.assert_allclose(above.get_lines()[0].get_ydata(), np.array(last) - threshold, rtol=1e-12)
    np.testing.assert_allclose(above.get_lines()[0].get_xdata(), [0.1, 1, 10])
    assert_inside_and_apart(drawn)


def test_without_theory_there_is_no_threshold(springs: tuple[xr.Dataset, xr.Dataset]) -> None:
    drawn = plotting.figure(springs[0])
    assert len(drawn.axes) == 2
    assert drawn.axes[1].get_legend() is None


def test_energies_below_the_threshold_are_open(spins: xr.Dataset) -> None:
    deep = spins.copy(deep=True)
    deep["energy"].loc[{"annealing": "0.1, 8"}] -= 0.6
    above = plotting.figure(deep).axes[2]
    lines = [container.lines[0] for container in above.containers]
    faces = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in lines}
    assert isinstance(faces[0.1], str) and faces[0.1] == "white"
    assert not isinstance(faces[10.0], str)


def test_a_group_is_named_by_its_first_telling_key(spins: xr.Dataset) -> None:
    labels = {"annealing": "0.1, 8", "size": "24, 6"}
    assert shortened_labels(spins, labels) == {"rate": 0.1, "n": 24}
    same = spins.assign_coords(rate=spins["rate"].copy(data=[1.0, 1.0, 1.0]))
    assert shortened_labels(same, labels) == {"t_max": 8.0, "n": 24}


def test_equal_physics_agrees_and_a_shift_is_found(springs: tuple[xr.Dataset, xr.Dataset]) -> None:
    a, b = springs
    (comparison,) = langevin.compare(a, b)
    assert comparison.a.along == "rate"
    (difference,) = comparison.of("energy")
    np.testing.assert_array_equal(difference.points.x, [0.1, 1, 10])
    members = [member for _, member in langevin.members(a)]
    means = [float(member["energy"][:, -1].mean()) for member in reversed(members)]
    np.testing.assert_allclose(difference.points.a, means, rtol=1e-12)
    errors = [float(member["energy"][:, -1].std(ddof=1) / 12**0.5) for member in reversed(members)]
    np.testing.assert_allclose(difference.points.a_error, errors, rtol=1e-12)
    assert np.abs(difference.points.deviate).max() < SIGMAS
    (shifted,) = langevin.compare(a, b.assign(energy=b["energy"] + 0.2))
    assert shifted.of("energy")[0].points.deviate.min() > SIGMAS


def test_a_member_that_did_not_end_is_no_point(springs: tuple[xr.Dataset, xr.Dataset]) -> None:
    a, b = springs
    short = b.copy(deep=True)
    last = float(short["time"][-1])
    short["energy"].loc[{"annealing": "0.1, 8", "time": last}] = np.nan
    (comparison,) = langevin.compare(a, short)
    np.testing.assert_array_equal(comparison.of("energy")[0].points.x, [1, 10])


def test_each_size_is_a_curve_and_the_figure_has_both_scales(spins: xr.Dataset) -> None:
    reference = swept({"name": "pspin", "p": 3, "n": 32}, 9)
    comparisons = langevin.compare(reference, spins)
    assert [c.letter for c in comparisons] == ["B", "C"]
    assert [c.b.label.rpartition(", ")[2] for c in comparisons] == ["n = 16", "n = 24"]
    drawn = drawing.figure(comparisons)
    final, differences, above = drawn.axes
    assert [ax.get_xscale() for ax in drawn.axes] == ["log"] * 3
    assert (final.get_yscale(), above.get_yscale()) == ("linear", "log")
    assert differences.get_xlabel() == above.get_xlabel() == "rate $|dT/dt|$"
    assert any("threshold" in text.get_text() for text in final.texts)
    # Bars of 68 %.
    assert len(final.containers) == 3
    FigureCanvasAgg(drawn).draw()
    boxes = [text.get_window_extent() for ax in drawn.axes for text in (ax.xaxis.label, ax.yaxis.label)]
    boxes = [box for box in boxes if box.width] + [ax.get_window_extent() for ax in drawn.axes]
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[i + 1 :])


def test_lines_of_theory_are_those_of_the_energy_that_is_drawn(
    springs: tuple[xr.Dataset, xr.Dataset], spins: xr.Dataset
) -> None:
    drawn = drawing.figure(langevin.compare(springs[0], spins))
    # No threshold of spins among energies of oscillators, whichever comes first.
    final, other = drawn.axes
    assert final.get_ylabel().startswith("final energy per degree")
    assert other.get_ylabel().startswith("final energy per spin")
    assert not final.texts and not other.texts
    beside = drawing.figure(langevin.compare(spins, springs[0]))
    assert len(beside.axes[0].texts) == 2


def command(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_the_command(
    springs: tuple[xr.Dataset, xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, dataset in zip("ab", springs, strict=True):
        dataset.to_netcdf(f"{name}.nc")
    single = next(member for _, member in langevin.members(springs[0]))
    single.to_netcdf("single.nc")
    other = langevin.run(
        {
            "sweep": {"dynamics.temperature": [0.5, 1.0]},
            "system": {"name": "harmonic", "n": 4},
            "dynamics": {"dt": 0.1, "t_max": 1.0},
        },
        executor="in_process",
    )
    other.to_netcdf("other.nc")
    done = command("a.nc", "b.nc", "--csv", "all.csv")
    assert done.exit_code == 0, done.output
    assert "final energies, against rate" in done.output
    assert "dynamics.temperature" not in done.output
    rows = list(csv.DictReader(Path("all.csv").read_text(encoding="utf-8").splitlines()))
    assert [float(row["swept"]) for row in rows] == [0.1, 1.0, 10.0]
    assert {row["time"] for row in rows} == {""}
    for arguments, words in (
        (["a.nc", "single.nc"], "a.nc: holds a sweep over annealing; allowed: the file of a single run"),
        (["a.nc", "other.nc"], "share no number"),
        (["a.nc", "b.nc", "--quantity", "msd"], "allowed: energy"),
        (["a.nc", "b.nc", "--extrapolate"], "takes files of single runs"),
        (["a.nc", "b.nc", "--match", "0.5"], "it must be ≥ 1"),
    ):
        done = command(*arguments, "-o", "new.png")
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert words in done.output
        assert not Path("new.png").exists()


def test_sweeps_without_any_end_have_nothing_to_compare(springs: tuple[xr.Dataset, xr.Dataset]) -> None:
    nothing = springs[1].assign(energy=springs[1]["energy"] * np.nan)
    with pytest.raises(UserError, match="nothing to compare"):
        langevin.compare(springs[0], nothing)
    # Such a file is drawn all the same.
    assert not plotting.figure(nothing).axes[0].get_lines()
