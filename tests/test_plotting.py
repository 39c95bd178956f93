"""Figures: what is in the file is drawn, nothing overlaps, nothing crashes on unfinished runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread
from training_course import ALPHA, BATCH, T1, T2, training
from two_step import Q, T, X, two_lines, two_step

import langevin
from langevin import plotting
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.observables.aging import aging_exponent
from langevin.plotting import sheet, style

Maker = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def quench() -> xr.Dataset:
    return langevin.run(
        {
            "title": "a quench",
            "system": {"name": "pspin", "p": 3, "n": 24},
            "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 10.0},
            "ensemble": {"replicas": 4, "samples": 2},
        }
    )


def texts(figure: Figure) -> str:
    found = []
    for ax in figure.axes:
        found += [ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts)]
        legend = ax.get_legend()
        if legend is not None:
            found += [legend.get_title().get_text(), *(t.get_text() for t in legend.get_texts())]
    return "\n".join(found)


def test_two_panels_with_limits_and_waiting_times(quench: xr.Dataset) -> None:
    made = plotting.figure(quench)
    assert len(made.axes) == 2
    shown = texts(made)
    for word in (
        "time $t$",
        "lag $t$",
        "energy per spin",
        "-0.8867",
        "q_{EA}",
        "waiting time",
        "2 samples",
    ):
        assert word in shown
    curves = [line for line in made.axes[1].lines if line.get_label()[0] != "_"]
    assert len(curves) == np.sum(quench["msd"].notnull().any(("replica", "lag")))


def boxes_of(made: Figure) -> list[Any]:
    """Boxes of the title, the labels, the legends below and the axes themselves, as drawn."""
    FigureCanvasAgg(made).draw()
    boxes = [made._suptitle.get_window_extent()]  # type: ignore[attr-defined]
    boxes += [legend.get_window_extent() for legend in made.legends]
    for ax in made.axes:
        boxes += [
            ax.xaxis.label.get_window_extent(),
            ax.yaxis.label.get_window_extent(),
            ax.get_window_extent(),
        ]
    return boxes


def assert_inside_and_apart(made: Figure) -> None:
    boxes = boxes_of(made)
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= made.bbox.x1 and box.y1 <= made.bbox.y1
        for other in boxes[i + 1 :]:
            assert not box.overlaps(other)


def test_labels_stay_inside_and_apart(quench: xr.Dataset) -> None:
    assert_inside_and_apart(plotting.figure(quench))


def test_a_png_has_the_pixels_that_savefig_writes(quench: xr.Dataset, tmp_path: Path) -> None:
    one, other = (plotting.figure(quench) for _ in range(2))
    canvas = one.canvas
    # Twice: what has been laid out is laid out anew.
    for _ in range(2):
        plotting.write(one, tmp_path / "one.png")
        assert (one.canvas, one.dpi) == (canvas, other.dpi)
        with sheet.styled(other):
            other.savefig(tmp_path / "other.png")
        np.testing.assert_array_equal(*(imread(tmp_path / name) for name in ("one.png", "other.png")))


def test_other_quantities_and_unknown_ones(quench: xr.Dataset, tmp_path: Path) -> None:
    assert "correlation" in texts(plotting.figure(quench, "correlation"))
    with pytest.raises(UserError, match="allowed: msd, correlation"):
        plotting.figure(quench, "entropy")
    with pytest.raises(UserError, match=r"\.docx.*png"):
        plotting.save(quench, tmp_path / "figure.docx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("drop", [["msd", "correlation"], ["energy"]])
def test_a_file_with_one_kind_of_observable(quench: xr.Dataset, drop: list[str]) -> None:
    part = quench.drop_vars(drop)
    shown = plotting.figure(part, "correlation" if "energy" in drop else None).axes
    assert len(shown) == (2 if "msd" in part else 1) - ("energy" in drop)
    if "energy" in part:
        for name in ("msd", "foo", "hessian"):
            with pytest.raises(UserError, match=f"'{name}': not in the file; allowed: overlap, energy$"):
                plotting.figure(part, name)


def test_an_unfinished_run_and_a_single_replica(quench: xr.Dataset) -> None:
    unfinished = quench.where(quench["time"] < 1)
    unfinished["msd"] = quench["msd"].where(quench["lag"] < 0.1)
    energy, msd = plotting.figure(unfinished).axes
    assert 0.5 < max(curve.max() for curve in abscissas(energy)) < 1
    assert max(curve.max() for curve in abscissas(msd)) < 0.1
    # Bands are errors over samples, and a single replica has none.
    assert all(len(ax.collections) for ax in plotting.figure(quench).axes)
    assert not any(len(ax.collections) for ax in plotting.figure(quench.isel(replica=[0])).axes)
    nothing = quench.where(quench["time"] < 0).assign(msd=quench["msd"] * np.nan)
    assert not any(abscissas(ax) for ax in plotting.figure(nothing).axes)


def abscissas(ax: Axes) -> list[np.ndarray]:
    """Return x of every curve; lines across the panel have two points."""
    return [np.asarray(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 2]


def with_response(temperature: float = T, waiting_times: int = 12, replicas: int = 1) -> xr.Dataset:
    """A run over twelve decades with a response; one replica has numerical errors, several have noise."""
    waiting, lags = np.geomspace(0.1, 1e10, waiting_times), np.geomspace(1e-3, 1e11, 120)
    time = np.concatenate([[0], np.geomspace(1e-3, 1e12, 150)])
    rng, c = np.random.default_rng(1), two_step(waiting, lags)
    noise = 0.01 * rng.standard_normal((2, replicas, *c.shape)) * (replicas > 1)
    two_time = ("replica", "waiting_time", "lag")
    limits = {"temperature": temperature} | ({"fdt_ratio": X, "q_ea": Q} if temperature else {})
    correlation = {"long_name": "spin correlation", "plateau": Q, "plateau_meaning": "q_EA for N → ∞"}
    chi = two_lines(c, 0.05) if temperature else 1 - c
    made = xr.Dataset(
        {
            "energy": (("replica", "time"), np.tile(-0.9 + 0.9 * (1 + time) ** -0.6, (replicas, 1))),
            "msd": (two_time, 2 * (1 - c - noise[0])),
            "correlation": (two_time, c + noise[0], correlation),
            "response": (two_time, np.gradient(chi, lags, axis=1)[None] + noise[0]),
            "integrated_response": (two_time, chi + noise[1], {"long_name": "integrated response", **limits}),
        },
        {
            "replica": np.arange(replicas),
            "sample": ("replica", np.arange(replicas)),
            "time": time,
            "waiting_time": waiting,
            "lag": lags,
        },
        {"title": "twelve decades"},
    )
    if replicas == 1:
        made["energy"].attrs["ensemble"] = "N → ∞"
        for name in ("energy", "correlation", "integrated_response"):
            made[f"{name}_error"] = xr.full_like(made[name], 0.02)
    return made


def test_four_panels_where_a_response_is_in_the_file() -> None:
    ds = with_response()
    made = plotting.figure(ds)
    msd, correlation, response = made.axes[1:]
    shown = texts(made)
    for word in ("N → ∞", "lag $t$", "integrated response", "$C$", "q_{EA}", "X = 0.565", "T = 0.5"):
        assert word in shown
    assert "replica" not in shown
    assert [ax.get_xscale() for ax in made.axes] == ["log", "log", "log", "linear"]
    (legend,) = made.legends
    assert len(legend.get_texts()) == 12
    # The colour of a waiting time is the same in all panels, and in the legend.
    curves = [
        [line for line in ax.lines if len(line.get_xdata()) > 50] for ax in (msd, correlation, response)
    ]
    for of_one in zip(*curves, strict=True):
        assert len({to_rgba(line.get_color()) for line in of_one}) == 1
    colours = {to_rgba(line.get_color()) for line in legend.get_lines()}
    assert colours == {to_rgba(line.get_color()) for line in curves[0]} and len(colours) == 12
    # χ against C, no other way round.
    np.testing.assert_array_equal(curves[2][3].get_xdata(), ds["correlation"][0, 3])
    np.testing.assert_array_equal(curves[2][3].get_ydata(), ds["integrated_response"][0, 3])
    assert len(response.collections) == 12 and len(msd.collections) == 0, "bands where there are errors"


def test_the_lines_of_theory_in_the_response_panel() -> None:
    ds = with_response()

    def lines(dataset: xr.Dataset) -> dict[str, np.ndarray[Any, Any]]:
        found = [line for line in plotting.figure(dataset).axes[3].lines if line.get_label()[0] != "_"]
        return {str(line.get_label())[:3]: np.array(line.get_data(), float) for line in found}

    both = lines(ds)
    assert set(both) == {"FDT", "slo"}
    for c, chi in both["FDT"].T:
        assert chi == pytest.approx((1 - c) / T)
    (c0, chi0), (c1, chi1) = both["slo"].T
    assert (chi1 - chi0) / (c1 - c0) == pytest.approx(-X / T)
    assert (c1, chi1) == pytest.approx((Q, (1 - Q) / T)), "it leaves the FDT line at q_EA"
    del ds["integrated_response"].attrs["q_ea"]
    assert set(lines(ds)) == {"FDT"}
    del ds["integrated_response"].attrs["temperature"]
    assert lines(ds) == {}
    assert lines(with_response(0.0)) == {}, "no division by T = 0"


@pytest.mark.parametrize("replicas", [1, 6])
@pytest.mark.parametrize("waiting_times", [1, 5, 12, 30])
def test_four_panels_stay_apart(replicas: int, waiting_times: int) -> None:
    made = plotting.figure(with_response(waiting_times=waiting_times, replicas=replicas))
    assert_inside_and_apart(made)
    (legend,) = made.legends
    assert len(legend.get_texts()) == min(waiting_times, 12)
    # The legend of theory covers no curve: all of them are below the FDT line, it is above.
    ax = made.axes[3]
    box = ax.get_legend().get_window_extent()  # type: ignore[union-attr]
    for line in ax.lines:
        points = ax.transData.transform(np.array(line.get_data(), float).T)
        fine = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(points)])
        assert not any(box.contains(*point) for point in fine)


def test_the_legend_is_read_along_its_rows() -> None:
    labels = plotting.figure(with_response(waiting_times=12)).legends[0].get_texts()
    # Columns are filled first: two rows of six.
    assert [t.get_text() for t in labels][::2] == ["0.1", "1", "10", "$10^{2}$", "$10^{3}$", "$10^{4}$"]


def test_a_quantity_of_a_file_with_a_response() -> None:
    ds = with_response()
    made = plotting.figure(ds, "integrated_response")
    assert len(made.axes) == 2 and len(made.legends) == 1
    assert made.axes[1].get_xlabel() == "lag $t$" and made.axes[1].collections
    assert_inside_and_apart(made)
    with pytest.raises(
        UserError, match=r"allowed: msd, correlation, response, integrated_response, energy, aging, fdt$"
    ):
        plotting.figure(ds, "correlation_error")


def test_parts_of_a_file_with_a_response() -> None:
    ds = with_response(replicas=4)
    assert len(plotting.figure(ds.drop_vars("msd")).axes) == 3
    assert len(plotting.figure(ds.drop_vars("energy")).axes) == 3
    assert len(plotting.figure(ds.drop_vars("correlation")).axes) == 2, "χ against nothing"
    plotting.figure(ds * np.nan)
    partly = ds.assign(integrated_response=ds["integrated_response"].where(ds["lag"] < 1))
    partly["correlation"] = ds["correlation"].where(ds["waiting_time"] < 100)
    assert_inside_and_apart(plotting.figure(partly))


def test_the_command_draws_both_kinds(tmp_path: Path) -> None:
    file = tmp_path / "run.nc"
    with_response().to_netcdf(file)
    for options in ([], ["--quantity", "correlation"]):
        done = CliRunner().invoke(
            main, ["plot", str(file), "-o", str(tmp_path / "figure.png"), "--force", *options]
        )
        assert done.exit_code == 0, done.output


def legend_of(ax: Any) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [t.get_text() for t in legend.get_texts()]


def titles(made: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in made.axes]


def dashed(ax: Any) -> np.ndarray[Any, Any]:
    """Return the line of slope 1 in a panel of Δ/D."""
    (line,) = (line for line in ax.lines if line.get_linestyle() == "--")
    return np.array(line.get_data(), float)


def test_the_course_of_training() -> None:
    made = plotting.figure(training())
    assert titles(made) == ["(a)", "(b)", "(c)", r"(d) $t_w \leq t_2$", "(e) $t_w > t_2$"]
    losses, accuracies, msd, before, after = made.axes
    assert losses.get_xlabel() == "time $t$ (steps)"
    assert msd.get_xlabel() == after.get_xlabel() == "lag $t$ (steps)"
    assert (losses.get_yscale(), accuracies.get_yscale()) == ("linear", "linear")
    names = legend_of(losses)
    assert names[:2] == ["training", "test"] and names[2].startswith("$t_1$ = 10") and "t_2" in names[3]
    assert legend_of(accuracies) == ["training", "test"]
    # A line at t₁ and one at t₂ in both, with bands.
    for ax in (losses, accuracies):
        marks = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]  # type: ignore[index, arg-type]
        assert marks == pytest.approx([T1, T2], rel=0.05)
        assert len(ax.patches) == 2
    early = int(np.sum(training()["waiting_time"] <= T2))
    assert [len(ax.lines) - 1 for ax in (before, after)] == [early, 6 - early]
    assert before.get_ylim() == after.get_ylim()
    assert "waiting time $t_w$ (steps)" in made.legends[0].get_title().get_text()


def test_displacements_over_noise_are_those_of_the_file() -> None:
    ds = training()
    made = plotting.figure(ds, "msd_over_noise")
    assert titles(made) == [r"$t_w \leq t_2$", "$t_w > t_2$"] and len(made.legends) == 1
    curves = [line for ax in made.axes for line in ax.lines if line.get_linestyle() == "-"]
    for i, line in enumerate(curves):
        ratio = ds["msd"].mean("replica")[i] / ds["gradient_noise"].mean("replica")[i]
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), ratio)
    for ax in made.axes:
        np.testing.assert_allclose(*(v / v[0] for v in dashed(ax)))
        np.testing.assert_allclose(dashed(ax)[1] / dashed(ax)[0], ALPHA**2 / BATCH)
        assert legend_of(ax) == [r"$\alpha^2 t/B$"]
    assert_inside_and_apart(made)


def test_a_slope_stands_free_where_no_law_is_known() -> None:
    ds = training(bottom=False)
    ds["gradient_noise"].attrs.clear()
    far = training(bottom=False)
    far["gradient_noise"].attrs["learning_rate"] = 1e6
    for given in (ds, far):
        (ax,) = plotting.figure(given, "msd_over_noise").axes
        (x0, x1), (y0, y1) = dashed(ax)
        assert y1 / y0 == pytest.approx(x1 / x0) and x1 / x0 > 100
        low = np.min([np.interp([x0, x1], *line.get_data()) for line in ax.lines[:-1]], axis=0)  # type: ignore[call-overload]
        assert np.all(low > 2 * np.array([y0, y1])), "below every curve"
        assert legend_of(ax) == [r"$\propto t$"] and ax.get_ylim()[1] < 1e3


def test_without_a_last_level_the_last_panel_is_aging() -> None:
    ds = training(bottom=False)
    made = plotting.figure(ds)
    assert titles(made) == ["(a)", "(b)", "(c)", "(d)"]
    assert "relaxation time" in made.axes[3].get_ylabel()
    # Of four replicas there is no exponent: their t* is drawn, and why there is none.
    assert ds.sizes["replica"] == 4 and "too few samples: 4" in " ".join(legend_of(made.axes[3]))
    times = aging_exponent(ds["msd"], resamples=2)["relaxation_time"]
    assert len(made.axes[3].containers) == int(times.notnull().sum()) >= 4
    assert not any("t_2" in name for name in legend_of(made.axes[0]))
    # Three waiting times make no power: displacements over noise, one panel for all.
    few = plotting.figure(training(3, bottom=False))
    assert titles(few) == ["(a)", "(b)", "(c)", "(d)"]
    assert len(few.axes[3].lines) == 4


@pytest.mark.parametrize(
    ("waiting_times", "replicas", "bottom"), [(3, 8, True), (12, 1, True), (6, 1, False), (12, 8, False)]
)
def test_the_panels_of_training_stay_apart(waiting_times: int, replicas: int, bottom: bool) -> None:
    made = plotting.figure(training(waiting_times, replicas, bottom=bottom))
    assert_inside_and_apart(made)
    frames = [ax.get_window_extent() for ax in made.axes]
    letters = [ax._left_title.get_window_extent() for ax in made.axes]  # type: ignore[attr-defined]
    for ax in made.axes:
        legend = ax.get_legend()
        if legend is not None and "relaxation time" not in ax.get_ylabel():
            box = legend.get_window_extent()
            assert not any(box.overlaps(other) for other in frames + letters), "legends are outside"
    left = [round(frame.x0) for frame in frames]
    assert left[0] == left[2] and left[1] == left[3] == left[-1], "frames line up"


def test_parts_of_a_training_run() -> None:
    ds = training()
    correlation = plotting.figure(ds.drop_vars("gradient_noise"))
    assert len(correlation.axes) == 4 and "weight correlation" in correlation.axes[3].get_ylabel().replace(
        "\n", " "
    )
    assert len(plotting.figure(ds.drop_vars(["gradient_noise", "correlation"])).axes) == 3
    curves = ["msd", "correlation", "gradient_noise", "train_accuracy", "test_accuracy"]
    assert len(plotting.figure(ds.drop_vars(curves)).axes) == 1
    assert len(plotting.figure(ds, "correlation").axes) == 2, "energy and one quantity, as for any file"
    unfinished = ds.assign(
        energy=ds["energy"].where(ds["time"] < 50),
        msd=ds["msd"].where(ds["lag"] < 20),
        gradient_noise=ds["gradient_noise"].where(ds["waiting_time"] < 20),
    )
    assert_inside_and_apart(plotting.figure(unfinished))
    for given in (unfinished, ds * np.nan, ds.assign(energy=0 * ds["energy"])):
        for quantity in (None, "msd_over_noise"):
            plotting.figure(given, quantity)


def test_noise_that_vanishes_is_left_out() -> None:
    ds = training()
    ds["gradient_noise"][:, -1] = 0.0
    made = plotting.figure(ds, "msd_over_noise")
    assert sum(len(ax.lines) for ax in made.axes) == 5 + 2


def test_what_is_allowed_names_the_scaled_displacement(quench: xr.Dataset) -> None:
    with pytest.raises(UserError, match=r"allowed: msd, correlation, test_loss, .*, msd_over_noise, aging$"):
        plotting.figure(training(), "entropy")
    with pytest.raises(UserError, match="'msd_over_noise': not in the file; allowed: msd, correlation"):
        plotting.figure(quench, "msd_over_noise")


def test_the_command_draws_the_scaled_displacement(tmp_path: Path) -> None:
    file = tmp_path / "net.nc"
    training(bottom=False).to_netcdf(file)
    done = CliRunner().invoke(main, ["plot", str(file), "--quantity", "msd_over_noise"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "net-msd_over_noise.png").exists()


def test_a_one_time_observable_stands_alone(quench: xr.Dataset) -> None:
    quench = quench.assign(force=2 * quench["energy"].assign_attrs(long_name="force"))
    (ax,) = plotting.figure(quench, "force").axes
    known = quench["time"].to_numpy() > 0
    np.testing.assert_allclose(ax.lines[0].get_xdata(), quench["time"].to_numpy()[known])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), quench["force"].mean("replica").to_numpy()[known])
    assert (ax.get_yscale(), ax.get_ylabel().strip()) == ("linear", "force")
    assert "force" in plotting.quantities(quench)
    assert "energy" in plotting.quantities(quench)
    falling = quench.assign(force=0 * quench["force"] + np.exp(-quench["time"]))
    assert plotting.figure(falling, "force").axes[0].get_yscale() == "log"


def test_energy_alone_and_what_no_figure_draws(quench: xr.Dataset) -> None:
    (ax,) = plotting.figure(quench, "energy").axes
    assert ax.get_ylabel() and len(ax.lines) >= 1
    with pytest.raises(UserError, match="'sample': in the file, but no figure draws it; allowed: msd, corr"):
        plotting.figure(quench, "sample")
    only = quench.drop_vars("msd")
    assert len(plotting.figure(only).axes) == 2, "where nobody asks, what there is"


def test_dollars_of_titles_that_are_no_formulas(quench: xr.Dataset, tmp_path: Path) -> None:
    for title in (r"$\nothing$ and", "for 5 $ or $x_", "$", r"$T_c$ = 1"):
        plotting.save(quench.assign_attrs(title=title), tmp_path / "a.png")
    assert style.as_written(r"$T_c$ = 1") == r"$T_c$ = 1"
    assert style.as_written(r"$\nothing$ 1") == r"\$\nothing\$ 1"
