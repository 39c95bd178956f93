"""Figures for print: their size and text, the way numbers are written, what is drawn of what is known."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_plotting import assert_inside_and_apart, with_response
from training_course import training

import langevin
from langevin import plotting
from langevin.commands.cli import main
from langevin.errors import UserError
from langevin.plotting import plane, sheet, style
from langevin.plotting.numerals import moment, number, numbers

ROOT = Path(__file__).resolve().parents[1]

#: E_∞ of what is made up here, and the power with which it is come to.
LIMIT, POWER = -1.1547, -2 / 3


def relaxing(**about: Any) -> xr.Dataset:
    """Return a run whose energy comes to its limit by a power, and that has three waiting times."""
    time = np.geomspace(1e-2, 1e8, 61)
    waiting = np.array([1.0, 100.0, 10000.0])
    lag = np.geomspace(1e-2, 1e6, 41)
    energy = LIMIT + 1.1547 * (1 + time) ** POWER
    msd = 2 * lag / (lag + waiting[:, None])
    named: dict[str, Any] = {"long_name": "energy per spin", "asymptote": LIMIT} | about
    two_time = ("replica", "waiting_time", "lag")
    return xr.Dataset(
        {
            "energy": (("replica", "time"), energy[None], {k: v for k, v in named.items() if v is not None}),
            "msd": (two_time, msd[None], {"long_name": "mean square displacement per spin"}),
        },
        {"replica": [0], "time": time, "waiting_time": waiting, "lag": lag},
        {"title": "a start at T_i, by a power"},
    )


def sizes(made: Figure) -> list[float]:
    """Return the sizes in points of all text that is seen."""
    return [t.get_fontsize() for t in made.findobj(Text) if t.get_visible() and t.get_text().strip()]  # type: ignore[attr-defined]


def names(ax: Any) -> list[str]:
    return list(ax.get_legend_handles_labels()[1])


# Numbers


def test_numbers_that_stand_together_are_printed_in_one_way() -> None:
    assert numbers([0.1, 1, 31.6]) == ["0.1", "1", "31.6"]
    # Not "100" beside "10³": as soon as one takes a power, all from a hundred on do.
    assert numbers([1, 10, 100, 316.2, 1000]) == [
        "1", "10", "$10^{2}$", r"$3.16\times 10^{2}$", "$10^{3}$",
    ]  # fmt: skip
    assert numbers([0.001, 0.05, 0.5]) == ["$10^{-3}$", r"$5\times 10^{-2}$", "0.5"]
    # Whole numbers of four digits keep them; those that are no powers need none.
    assert numbers([64, 512, 1024]) == ["64", "512", "1024"]
    assert numbers([-1780.4, 0, np.inf]) == ["−1780", "0", "∞"]
    assert (number(100.0), moment(100.0)) == ("100", "$10^{2}$")
    assert number(1.78e3) == "1780" and number(2.5e-7) == r"$2.5\times 10^{-7}$"


def test_no_figure_writes_an_e() -> None:
    made = plotting.figure(relaxing())
    made.canvas.draw()
    for text in made.findobj(Text):
        assert not re.search(r"\de[+-]?\d", text.get_text()), text.get_text()  # type: ignore[attr-defined]
    axis = [t.get_text() for t in made.axes[0].get_xticklabels()]
    assert "$10^{3}$" in axis and "10" in axis, "ten, not ten to the first"


def test_short_logarithmic_axes_have_labels() -> None:
    made = plotting.figure(relaxing(), axes={"a.x": (2.0, 9.0), "b.x": (100.0, 110.0)})
    made.canvas.draw()
    for ax, low, high in ((made.axes[0], 2, 9), (made.axes[1], 100, 110)):
        seen = [t for t in ax.get_xticks() if low <= t <= high]
        assert len(seen) >= 2


# Colours


def luminance(colour: Any) -> float:
    """Return the relative luminance of WCAG 2."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_the_last_colour_is_seen_on_white(count: int) -> None:
    shades = [luminance(colour) for colour in style.colours_of(range(count)).values()]
    # Contrast to white of 3, what WCAG asks of lines.
    assert all(1.05 / (shade + 0.05) > 2.99 for shade in shades)
    assert (np.diff(shades) > 0).all(), "early is dark, late is light"
    last = 0.9 if count == 1 else 1.0
    assert luminance(matplotlib.colormaps["viridis"](last)) > 1.05 / 2.0 - 0.05, "what it was before is not"


# Size


@pytest.mark.parametrize(
    ("width", "inches", "rows"), [("column", 3.4, 2), ("page", 7.0, 1), ("slide", 10.0, 1)]
)
def test_a_figure_has_the_size_in_which_it_is_printed(width: str, inches: float, rows: int) -> None:
    made = plotting.figure(relaxing(), width=width)
    assert made.get_figwidth() == inches and made.get_figheight() <= 9.2
    assert made.axes[0].get_subplotspec().get_gridspec().nrows == rows  # type: ignore[union-attr]
    least, most = (7, 9) if width != "slide" else (10, 14)
    assert all(least <= size <= most for size in sizes(made))
    assert_inside_and_apart(made)


def test_many_panels_stay_apart_in_a_column() -> None:
    made = plotting.figure(with_response(), width="column")
    assert made.get_figwidth() == 3.4 and made.get_figheight() <= 9.2
    assert all(7 <= size <= 9 for size in sizes(made))
    assert_inside_and_apart(made)


@pytest.mark.slow
@pytest.mark.parametrize("width", list(sheet.SHEETS))
def test_training_and_response_stay_apart_at_every_width(width: str) -> None:
    for dataset in (training(), with_response(replicas=4), with_response(waiting_times=12)):
        assert_inside_and_apart(plotting.figure(dataset, width=width))


def test_without_a_width_a_figure_is_a_page_and_a_panel_a_column() -> None:
    assert plotting.figure(relaxing()).get_figwidth() == 7.0
    assert plotting.figure(relaxing(), "energy").get_figwidth() == 3.4


def test_a_figure_is_written_in_its_size_and_in_three_formats(tmp_path: Path) -> None:
    dataset = relaxing()
    for ending in ("png", "pdf", "svg"):
        langevin.plot(dataset, quantity="energy", width="column", output=tmp_path / f"a.{ending}")
    # Big-endian numbers of the header: 3.4 inches of 300 dots.
    assert int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big") == 1020
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", (tmp_path / "a.pdf").read_bytes())
    assert box is not None and float(box[1]) == pytest.approx(3.4 * 72, abs=0.1)
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()
    assert f'width="{3.4 * 72:g}pt"' in (tmp_path / "a.svg").read_text()[:1000]


# Style


def test_a_style_goes_before_the_house(tmp_path: Path) -> None:
    file = tmp_path / "journal.mplstyle"
    file.write_text("font.family: serif\nfigure.figsize: 3.5, 2.5\naxes.labelsize: 7.5\n")
    made = plotting.figure(relaxing(), style=file)
    assert made.get_figwidth() == 3.5 and made.axes[0].xaxis.label.get_fontfamily() == ["serif"]
    assert made.axes[0].xaxis.label.get_fontsize() == 7.5
    assert plotting.figure(relaxing(), style=file, width="page").get_figwidth() == 7.0
    with sheet.styled(made):
        assert matplotlib.rcParams["axes.labelsize"] == 7.5
    assert matplotlib.rcParams["axes.labelsize"] != 7.5, "nothing is left behind"
    assert plotting.figure(relaxing(), style="ggplot").axes[0].get_facecolor() != (1.0, 1.0, 1.0, 1.0)


def test_what_is_asked_wrongly_is_refused_in_one_line(tmp_path: Path) -> None:
    file, bad = tmp_path / "run.nc", tmp_path / "bad.mplstyle"
    relaxing().to_netcdf(file)
    bad.write_text("axes.labelsiez: 7\n")
    for given, said in (
        (["--width", "poster"], "--width 'poster': allowed: column, page, slide"),
        (
            ["--style", "ggplott"],
            "--style 'ggplott': no such file, nor a style of matplotlib; nearest: ggplot",
        ),
        (["--style", str(bad)], "no file of matplotlib's settings: "),
        (["--style", str(tmp_path)], "no such file"),
        (["--waiting-times", "1,two"], "--waiting-times '1,two': allowed: numbers by commas"),
        (["--waiting-times", "5"], "--waiting-times 5: none like this is drawn; allowed: 1, 10^2, 10^4"),
        (["--waiting-times", "1", "--quantity", "energy"], "draws no waiting times to choose from"),
        (["--axis", "x"], "--axis 'x': write x=log"),
        (["--axis", "z=log"], "--axis 'z': no such axis; allowed: x, y, a.x, a.y, b.x, b.y"),
        (["--axis", "c.x=log"], "--axis 'c.x': no such axis"),
        (["--axis", "x=cubic"], "--axis x=cubic: allowed: log, linear, or limits"),
        (["--axis", "b.y=2:1"], "--axis b.y=2:1: limits must be finite, the first below the second"),
        (["--axis", "a.x=-1:2"], "--axis a.x=-1:2: the axis is logarithmic; allowed: limits > 0"),
    ):
        done = CliRunner().invoke(main, ["plot", str(file), *given])
        assert (done.exit_code, done.stdout) == (2, ""), given
        assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.glob("*.png"))


# What is asked for


def test_waiting_times_axes_and_a_title_of_ones_own(tmp_path: Path) -> None:
    dataset = relaxing()
    made = plotting.figure(dataset, waiting_times=[100, 1], title="")
    assert [line.get_label() for line in made.axes[1].lines] == ["1", "$10^{2}$"]
    assert made._suptitle.get_text() == ""  # type: ignore[attr-defined]
    made = plotting.figure(
        dataset, title="to T_f", axes={"b.y": "linear", "a.x": "1:1e4", "b.x": (None, 1e3)}
    )
    assert made.axes[1].get_yscale() == "linear" and made.axes[0].get_yscale() == "log"
    assert made.axes[0].get_xlim() == (1.0, 1e4) and made.axes[1].get_xlim()[1] == 1e3
    assert made._suptitle.get_text() == r"to $T_{\rm f}$"  # type: ignore[attr-defined]
    file = tmp_path / "run.nc"
    dataset.to_netcdf(file)
    given = ["--waiting-times", "1,1e4", "--axis", "b.y=linear", "--axis", "b.y=0:3", "--title", "own"]
    done = CliRunner().invoke(main, ["plot", str(file), *given, "--width", "column"])
    assert done.exit_code == 0 and (tmp_path / "run.png").exists(), done.output


def test_fits_are_of_all_waiting_times() -> None:
    from test_aging_figure import subaging

    every, some = (plotting.figure(subaging(), "aging", waiting_times=w) for w in (None, [10, 1000]))
    (said,), (same,) = ([n for n in names(made.axes[1]) if "mu" in n] for made in (every, some))
    assert said == same
    # The threshold and the marks of t* stand beside the curves.
    assert len(every.axes[0].lines) - len(some.axes[0].lines) == 5


def test_letters_with_an_index_are_set_and_names_are_not() -> None:
    assert style.as_written("T_i = 0.5, q_EA") == r"$T_{\rm i}$ = 0.5, $q_{\rm EA}$"
    assert style.as_written("run_a.nc, ck_far, $x_1$") == "run_a.nc, ck_far, $x_1$"


# Exponents


@pytest.mark.parametrize(("curvature", "curved"), [(0.0, False), (0.02, True)])
def test_a_power_that_is_none_is_not_stated_as_one(curvature: float, curved: bool) -> None:
    from langevin.plotting.aging import described, fit_of, is_curved

    waiting, lag = np.geomspace(1, 1e4, 9), np.geomspace(1e-2, 1e6, 161)
    t_star = np.exp(0.8 * np.log(waiting) + curvature * np.log(waiting) ** 2)
    noise = np.random.default_rng(1).normal(0, 0.02, (12, 9, 1))
    msd = np.exp(noise) * (lag / t_star[:, None]) ** 0.5
    dims = ("replica", "waiting_time", "lag")
    labels = {
        "replica": np.arange(12),
        "waiting_time": waiting,
        "lag": lag,
        "sample": ("replica", np.arange(12)),
    }
    fit = fit_of(xr.Dataset({"msd": (dims, msd)}, labels), 1.0)
    assert np.isfinite(fit["exponent"]) and is_curved(fit) == curved
    words = described(fit, False)
    assert words.startswith(
        "no single power: $\\mu$ rises\neffective $\\mu$ = " if curved else "$\\mu$ = 0.8"
    )


# Energies


def test_the_distance_from_a_known_limit_is_drawn_in_logarithms() -> None:
    ax = plotting.figure(relaxing()).axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log") and "E_\\infty" in ax.get_ylabel()
    t, excess = (np.asarray(v, float) for v in ax.lines[0].get_data())
    late = t > 1e3
    assert np.polyfit(np.log(t[late]), np.log(excess[late]), 1)[0] == pytest.approx(POWER, abs=1e-3)
    # The exponential tends to the limit, not to the last energy: e^(−t/τ) of 1 − E_∞.
    ((x, y),) = [line.get_data() for line in ax.lines if str(line.get_label()).startswith("exponential")]
    tau = np.exp(1 / 1.5) ** 0 * (np.exp(1.5) - 1)
    np.testing.assert_allclose(np.log(y[0] / y), (np.asarray(x) - x[0]) / tau, rtol=0.05, atol=1e-3)
    low, high = ax.get_ylim()
    assert low < excess.min() < 2 * low and excess.max() < high < 2 * excess.max()
    assert any("-1.1547" in name for name in names(ax))


def test_no_exponential_that_nobody_would_propose() -> None:
    def drawn(dataset: xr.Dataset) -> Any:
        return plotting.figure(dataset, "energy").axes[0]

    unknown = drawn(relaxing(asymptote=None))
    assert unknown.get_yscale() == "linear" and not any("exponential" in name for name in names(unknown))
    # 1/e of the way is behind within a factor of two of the first time of measurement.
    late = relaxing().isel(time=slice(0, 13))
    late["energy"] = late["energy"].copy(data=LIMIT + (1 + late["time"].to_numpy()[None] / 1e-3) ** -2.0)
    late = drawn(late)
    assert late.get_yscale() == "log" and not any("exponential" in name for name in names(late))
    # Finite systems come below the limit of N → ∞: then the energy stands beside it.
    below = drawn(relaxing(asymptote=LIMIT + 0.01))
    assert below.get_yscale() == "linear" and any("E_\\infty" in name for name in names(below))


def test_a_sweep_shows_the_limits_that_it_knows() -> None:
    both = [relaxing(), relaxing(asymptote=LIMIT - 0.1)]
    values = xr.concat([d["energy"] for d in both], "temperature", combine_attrs="drop")
    dataset = xr.Dataset(
        {
            "energy": values.assign_attrs(long_name="energy per spin"),
            "limit": (
                "temperature",
                [LIMIT, LIMIT - 0.1],
                {"attribute": "asymptote", "attribute_of": "energy"},
            ),
        },
        {"temperature": [0.1, 0.2]},
        {"sweep_dimensions": "temperature"},
    )
    energies, final = plotting.figure(dataset).axes
    assert energies.get_yscale() == "log" and "E_\\infty" in energies.get_ylabel()
    (line,) = (line for line in final.lines if line.get_label() == r"$E_\infty$")
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [LIMIT, LIMIT - 0.1])


def test_points_stand_evenly_where_the_grid_of_times_does_not() -> None:
    time = np.concatenate([np.geomspace(1, 5000, 60), np.arange(5001.0, 20000.0, 40)])
    norm = xr.DataArray((1 + 0 * time)[None], dims=("replica", "time"), coords={"time": time, "replica": [0]})
    ds = xr.Dataset({"gradient_norm": norm, "energy": norm})
    (line, *_) = plotting.figure(ds, "gradient_norm").axes[0].lines
    x = np.asarray(line.get_xdata(), float)
    late = np.sum((x > 5e3) & (x < 1.5e4)) / np.log10(3)
    early = np.sum(x < 5e3) / np.log10(5e3)
    assert late < 2.2 * early and x[-1] == time[-1]


def test_a_correlation_that_begins_anywhere_is_in_sight() -> None:
    ds = with_response().drop_vars("msd")
    about = {name: v for name, v in ds["correlation"].attrs.items() if name != "plateau"}
    ds["correlation"] = (14.2 * ds["correlation"]).assign_attrs(about)
    ax = plotting.figure(ds).axes[-1]
    curve = np.concatenate([np.asarray(line.get_xdata(), float) for line in ax.lines])
    low, high = ax.get_xlim()
    assert high > np.nanmax(curve) > 10 and low < np.nanmin(curve) and low < high
    assert any("not known" in name for name in names(ax)), "1 − C is no theorem of such a C"


# Planes


def test_levels_are_round_and_contours_smooth() -> None:
    x = np.linspace(-2, 2, 21)
    bowl = 0.1387 + 0.3 * x**2 + (0.7 * x[:, None]) ** 2 + 0.05 * x[:, None] ** 4
    levels = plane.levels_of(bowl)
    assert levels[0] == bowl.min() and len(levels) > 8
    assert all(len(f"{level:.10g}".replace("0.", "").rstrip("0")) <= 3 for level in levels[1:])
    gaps = np.diff(levels)
    assert (gaps > 0).all() and gaps[-1] > 5 * gaps[0]
    fine_x, fine_y, between = plane.smooth(x, x, bowl)
    exact = 0.1387 + 0.3 * fine_x**2 + (0.7 * fine_y[:, None]) ** 2 + 0.05 * fine_y[:, None] ** 4
    # Chords between points 0.2 apart are off by 0.6 · 0.2²/8: splines have to be better.
    assert between.shape == (241, 241) and np.abs(between - exact).max() < 3e-3 / 4
    assert between.min() >= bowl.min()
    holed = np.where(bowl > 2, np.nan, bowl)
    assert plane.smooth(x, x, holed)[2] is holed


def test_round_numbers() -> None:
    assert plane.round_number(0.1487, 0.0093) == 0.15
    assert plane.round_number(2.418, 0.6) == 2.5
    assert plane.round_number(-0.8861, 0.004) == -0.886


# The figures of the documentation


def recipes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_figures", ROOT / "docs/make_figures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_figures"] = module
    spec.loader.exec_module(module)
    return module


def test_every_figure_of_the_documentation_has_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipes()
    shown = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        shown |= set(re.findall(r"figures/(\w+)\.png", page.read_text(encoding="utf-8")))
    assert shown <= set(made.RECIPES) and set(made.RECIPES) == {f.stem for f in made.FIGURES.glob("*.png")}
    monkeypatch.chdir(tmp_path)
    for recipe in made.RECIPES.values():
        for quick in (True, False):
            for result in recipe.results:
                for command, first, *_ in made.steps(result, quick):
                    assert command != "run" or Path(first).exists()


def test_a_figure_of_the_documentation_is_made_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipes()
    given = ["protocols", "--quick", "--results", str(tmp_path), "--figures", str(tmp_path / "figures")]
    assert made.main(given) == 0
    result = tmp_path / "quick" / "protocols.nc"
    before = result.stat().st_mtime_ns
    (tmp_path / "figures" / "protocols.png").unlink()
    assert made.main(given) == 0
    assert (tmp_path / "figures" / "protocols.png").exists() and result.stat().st_mtime_ns == before
    with pytest.raises(SystemExit):
        made.main(["nothing"])
    assert "no such figure: nothing; allowed: pspin" in capsys.readouterr().err


@pytest.mark.slow
def test_every_figure_of_the_documentation_is_made_quickly(tmp_path: Path) -> None:
    made = recipes()
    assert made.main(["--quick", "--results", str(tmp_path), "--figures", str(tmp_path / "figures")]) == 0
    assert {f.stem for f in (tmp_path / "figures").glob("*.png")} == set(made.RECIPES)


def test_a_plane_of_error_has_no_code_name() -> None:
    x = np.linspace(0, 1, 6)
    error = xr.DataArray(0.1 + x**2 + x[:, None], dims=("y", "x"), coords={"x": x, "y": x}, name="test_error")
    error.attrs = {"long_name": "part classified wrongly", "units": "1"}
    ds = xr.Dataset({"energy": error.rename("energy"), "test_error": error})
    bar = plotting.figure(ds, "test_error").axes[1]
    assert bar.get_ylabel() == "test error (%)\nminimum 10"
    with pytest.raises(UserError, match="draws no waiting times"):
        plotting.figure(ds, waiting_times=[1.0])
