"""Results of any systems laid over each other: scales against closed forms, names, axes, what a user meets.

Harmonic oscillators (k = 1, from variance s² at T) have closed forms: v(t) = T + (s² − T) e^{−2t}, E = v/2,
C(t_w, t_w + t) = v(t_w) e^{−t}, Δ = v(t_w) + v(t_w + t) − 2C.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from conftest import ROOT, SIGMAS
from matplotlib.figure import Figure

import langevin
from langevin.analysis.compare import overlay_figure
from langevin.commands.cli import main
from langevin.config import registry
from langevin.errors import UserError
from langevin.observables import scaling
from langevin.results import words

TEMPERATURE, START = 0.5, 2.0
TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 20, 120)])
WAITING, LAGS = np.array([0.1, 1.0, 3.0]), np.geomspace(1e-3, 20, 80)


def variance(t: Any) -> Any:
    return TEMPERATURE + (START - TEMPERATURE) * np.exp(-2 * t)


def springs(name: str = "harmonic", unit: str = "1", factor: float = 1.0, **about: Any) -> xr.Dataset:
    """Harmonic oscillators without noise; times of the file are `factor` times those of the equations."""
    tw, lag = WAITING[:, None], LAGS
    c = variance(tw) * np.exp(-lag)
    pair = ("replica", "waiting_time", "lag")
    attributes = {"units": "1"}
    return xr.Dataset(
        {
            "energy": (("replica", "time"), variance(TIMES)[None] / 2, {"asymptote": TEMPERATURE / 2}),
            "msd": (pair, (variance(tw) + variance(tw + lag) - 2 * c)[None], attributes),
            "correlation": (pair, c[None], attributes),
        },
        {
            "time": ("time", factor * TIMES, {"units": unit}),
            "waiting_time": ("waiting_time", factor * WAITING, {"units": unit}),
            "lag": ("lag", factor * LAGS, {"units": unit}),
        },
        {"system": name, "settings": json.dumps({"system": {"name": name}}), **about},
    )


def network(rate: float = 0.1, data: str = "mnist") -> xr.Dataset:
    """The same as if they were weights: times in steps of a learning rate."""
    steps = springs("mlp", "steps", 1 / rate, data=data)
    steps["energy"].attrs = {"lower_bound": TEMPERATURE / 2, "long_name": "training loss (mse_loss)"}
    return steps.assign_coords(
        {f"scaled_{n}": (n, rate * steps[n].to_numpy()) for n in ("time", "waiting_time", "lag")}
    )


def particles() -> xr.Dataset:
    """Something whose correlation is not that of its msd, in units of its own, and without a known limit."""
    mixture = springs("kob_andersen", "sigma_AA^2/epsilon_AA", 3.0)
    mixture["energy"].attrs = {"units": "epsilon_AA", "long_name": "energy per particle"}
    mixture["msd"].attrs["units"] = "sigma_AA^2"
    mixture["correlation"].attrs["kind"] = "self_intermediate_scattering"
    return mixture


def drawn(found: Any, quantity: str, k: int = 0) -> Any:
    return found.overlay.results[k].curves[quantity]


# Closed forms.


def test_each_scale_is_the_closed_form() -> None:
    dataset = springs()
    tw, t = WAITING[:, None], LAGS
    c = scaling.correlation_fraction(dataset["correlation"], dataset["msd"]).mean
    # C(t_w, t_w) on a line through the first lags: off by some t² of them, 1e-6.
    np.testing.assert_allclose(c, np.exp(-t) + 0 * tw, atol=1e-5)
    delta = variance(tw) + variance(tw + t) - 2 * variance(tw) * np.exp(-t)
    msd = scaling.msd_fraction(dataset["msd"], dataset["correlation"]).mean
    np.testing.assert_allclose(msd, delta / (variance(tw) + variance(23.0)), atol=1e-5)
    assert float(msd[0, -1]) == pytest.approx(1, abs=1e-5), "memory is lost"
    doubled = scaling.msd_over_waiting(dataset["msd"]).mean
    at = variance(tw) + variance(2 * tw) - 2 * variance(tw) * np.exp(-tw)
    # A straight line in logarithms over 13 % of the lag, h = 0.125: h²/8 times its curvature, below 0.3.
    np.testing.assert_allclose(doubled, delta / at, rtol=6e-4)
    e = scaling.energy_fraction(dataset["energy"], START / 2, TEMPERATURE / 2)
    np.testing.assert_allclose(e[0], np.exp(-2 * TIMES), atol=1e-12)
    # In time, h = 0.083 t: (2h)²/8 of e, over its slope.
    tau = scaling.half_time(dataset["energy"], START / 2, TEMPERATURE / 2)
    assert tau == pytest.approx(np.log(2) / 2, rel=1e-3)


def test_what_is_heated_descends_upwards() -> None:
    energy = springs()["energy"]
    heated = 1 - energy
    e = scaling.energy_fraction(heated, 1 - START / 2, 1 - TEMPERATURE / 2)
    np.testing.assert_allclose(e[0], np.exp(-2 * TIMES), atol=1e-12)
    with pytest.raises(ValueError, match=r"start = 1\.0, limit = 1\.0: must be two finite"):
        scaling.energy_fraction(energy, 1.0, 1.0)
    assert np.isnan(scaling.half_time(energy, START / 2, -50.0)), "half of the way is not made"


def test_ratios_have_the_errors_of_ratios() -> None:
    """Samples whose msd differ by a factor alone: no error is left; it would be 20 % of each by itself."""
    one = springs()["msd"]
    factors = xr.DataArray([0.8, 0.9, 1.1, 1.2], dims="replica")
    msd = (one.isel(replica=0, drop=True) * factors).transpose("replica", ...)
    found = scaling.msd_over_waiting(msd)
    assert float(found.error.max()) < 1e-12 and found.error.attrs["samples"] == 4
    np.testing.assert_allclose(found.mean, scaling.msd_over_waiting(one).mean)
    assert np.isnan(scaling.msd_over_waiting(one).error).all()
    assert np.isnan(scaling.msd_over_waiting(one.assign_coords(waiting_time=[0.0, 1e-4, 50.0])).mean).all()


def test_a_run_is_the_closed_form_within_its_errors() -> None:
    """The program's own oscillators: 3 waiting times of 8 lags. Over a later lag's C they would not be."""
    lags = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    run = langevin.run(
        {
            "system": {"name": "harmonic", "n": 400},
            "dynamics": {"temperature": 0.5, "initial_temperature": 2.0, "dt": 0.01, "t_max": 4.0},
            "ensemble": {"replicas": 24, "seed": 5},
            "record": {"waiting_times": [0.1, 0.5, 1.0], "lags": lags, "configurations": "never"},
        }
    )
    mean, error = scaling.correlation_fraction(run["correlation"], run["msd"])
    # The step has a bias of some dt/2: 0.5 %.
    off = np.abs(mean - np.exp(-mean["lag"])) - 0.005
    assert (off < SIGMAS * error).all()
    first = mean / mean.isel(lag=3)
    assert (np.abs(first - np.exp(-mean["lag"])).isel(lag=4) > 0.05).all()


# Axes.


def test_different_units_are_scaled_and_all_curves_meet() -> None:
    """The same oscillators as springs, as weights of a net, and as particles: one curve each on all axes."""
    found = langevin.compare(springs(), network(), particles())
    assert found.overlay is not None
    scales = found.overlay.scales
    assert (scales.time, scales.lag, scales.energy) == ("scaled", "over_waiting_time", "fraction")
    assert (scales.msd, scales.correlation) == ("at_waiting_time", "start"), "particles know no limit"
    e, of_net = drawn(found, "energy"), drawn(found, "energy", 1)
    np.testing.assert_allclose(e[0].x, TIMES[1:])
    np.testing.assert_allclose(of_net[0].x, TIMES[1:])
    np.testing.assert_allclose(of_net[0].y, np.exp(-2 * TIMES[1:]), atol=1e-12)
    for k in range(3):
        for w, a, b in zip(WAITING, drawn(found, "msd"), drawn(found, "msd", k), strict=True):
            np.testing.assert_allclose(b.x, LAGS / w)
            np.testing.assert_allclose(a.y, b.y)
    # F_s begins at 1 and stands as it is.
    np.testing.assert_allclose(drawn(found, "correlation", 2)[1].y, particles()["correlation"][0, 1])
    # Particles take 3 units of their time for the same: τ₀ shows it, t in their unit does not.
    relaxed = langevin.compare(springs(), particles(), scale={"time": "relaxation"})
    a, b = (drawn(relaxed, "energy", k)[0] for k in (0, 1))
    np.testing.assert_allclose(a.x * np.log(2) / 2, TIMES[1:], rtol=1e-3)
    np.testing.assert_allclose(a.x, b.x, rtol=1e-3)
    assert langevin.compare(springs(), network(), scale="lag=time").overlay.scales.msd == "limit"  # type: ignore
    high = [d.assign(msd=d["msd"].assign_attrs(plateau=0.4)) for d in (springs(), network())]
    over = drawn(langevin.compare(*high, scale={"msd": "plateau"}), "msd", 1)[2]
    np.testing.assert_allclose(over.y, high[0]["msd"][0, 2] / 0.4)


def test_a_rate_that_changes_counts_by_its_sum() -> None:
    """α = 1/(1 + t): α·t is ln(1 + t), and a lag is what is added to it."""
    net = network().drop_vars(["scaled_time", "scaled_waiting_time", "scaled_lag"])
    t, tw = (net[n].to_numpy() for n in ("time", "waiting_time"))
    net = net.assign_coords(
        scaled_time=("time", np.log1p(t)), scaled_waiting_time=("waiting_time", np.log1p(tw))
    )
    found = langevin.compare(net, particles(), scale=["lag=time"])
    curve = drawn(found, "msd")[1]
    # Between stored times the sum is on a straight line: h²/8 with h = 9 %.
    np.testing.assert_allclose(curve.x, np.log((1 + tw[1] + curve.at) / (1 + tw[1])), rtol=0.02, atol=2e-3)
    assert curve.at[-1] <= t[-1] - tw[1]
    over = drawn(langevin.compare(net, particles()), "msd")[1]
    np.testing.assert_allclose(over.x, curve.x / np.log1p(tw[1]), rtol=1e-2)


@pytest.mark.parametrize(
    ("attributes", "known_by", "limit"),
    [
        ({"asymptote": 0.1, "lower_bound": 0.0}, "closed form", 0.1),
        ({"lower_bound": 0.0}, "lower bound", 0.0),
        ({}, "last energy", None),
    ],
)
def test_where_an_energy_leads_is_said(
    attributes: dict[str, Any], known_by: str, limit: float | None
) -> None:
    dataset = particles()
    dataset["energy"].attrs |= attributes
    found = langevin.compare(dataset, springs()).overlay
    assert found is not None
    way = found.results[0].descent
    assert way is not None and way.known_by == known_by
    assert way.limit == (float(dataset["energy"][0, -1]) if limit is None else limit)
    assert f"({known_by})" in langevin.compare(dataset, springs()).text()
    axis = overlay_figure.figure(found).axes[0]
    # The logarithm of what is left means something where the end is known exactly.
    assert axis.get_yscale() == ("linear" if limit is None else "log")


def test_a_power_of_time_is_led_to_its_limit() -> None:
    t = np.geomspace(0.1, 1e4, 120)
    dataset = xr.Dataset(
        {"energy": (("replica", "time"), [-1 + 0.5 * t**-0.5])}, {"time": t}, {"system": "particles"}
    )
    found = langevin.compare(dataset, particles()).overlay
    assert found is not None and found.results[0].descent is not None
    assert found.results[0].descent.limit == pytest.approx(-1, abs=1e-6)
    assert found.results[0].descent.known_by.startswith("fitted")


# Differences or not.


def test_one_quantity_is_tested_and_others_are_not() -> None:
    same = langevin.compare(springs(), springs())
    assert same.overlay is None and len(same) == 1 and same[0].summary("energy").largest == 0
    mixed = langevin.compare(springs(), springs(), network())
    assert mixed.overlay is not None and len(mixed) == 1, "the first two are of one kind"
    assert "the same quantities: harmonic oscillators, (2) against" in mixed.text()
    for other in (network(), particles()):
        found = langevin.compare(springs(), other)
        assert found.overlay is not None and not list(found)
        assert "σ" not in found.text() and "no difference is tested" in found.text()
    # Losses on different data are different quantities, though every word is the same.
    assert langevin.compare(network(), network(data="cifar10")).overlay is not None
    assert langevin.compare(network(), network()).overlay is None
    # Of other systems with one limit, as finite N and its equations, differences are tested; of others not.
    assert langevin.compare(springs(), springs("pspin")).overlay is None
    colder = springs("pspin")
    colder["energy"].attrs["asymptote"] = 0.2
    assert "energies that lead to 0.25 and to 0.2" in langevin.compare(springs(), colder).text()
    asked = langevin.compare(springs(), springs(), overlay=True).overlay
    assert asked is not None and asked.scales.time == "measured" and asked.scales.energy == "measured"


# Names.


def test_names_are_words_and_no_two_are_the_same() -> None:
    def named(**system: Any) -> xr.Dataset:
        dynamics = {"temperature": system.pop("temperature", 0.5)}
        settings = {"system": {"name": "pspin", **system}, "dynamics": dynamics}
        return xr.Dataset(attrs={"system": "pspin", "settings": json.dumps(settings), "title": "quench"})

    assert words.names([named(n=48), network(), particles()]) == [
        "p-spin model, $N$ = 48",
        "multilayer perceptron, MNIST",
        "Kob-Andersen mixture",
    ]
    assert words.names([named(n=48), named(n=64)]) == ["p-spin model, $N$ = 48", "p-spin model, $N$ = 64"]
    assert words.names([named(n=48, temperature=0.4), named(n=48)]) == [
        "p-spin model, $N$ = 48, $T$ = 0.4",
        "p-spin model, $N$ = 48, $T$ = 0.5",
    ]
    twice = [named(n=48).assign_attrs(seed=str(k)) for k in (1, 2)]
    assert words.names(twice) == ["p-spin model, $N$ = 48, seed 1", "p-spin model, $N$ = 48, seed 2"]
    assert words.names([named(), named()]) == ["p-spin model, (1)", "p-spin model, (2)"]
    own = xr.Dataset(attrs={"settings": json.dumps({"system": {"name": "double_well:DoubleWell"}})})
    assert words.names([own]) == ["double well"]
    assert words.names([own.assign_attrs(title="Two wells")]) == ["Two wells"]
    with pytest.raises(UserError, match="attribute settings is not JSON"):
        words.names([xr.Dataset(attrs={"settings": "{"})])


def test_every_registered_name_is_words() -> None:
    """One that is added has words of its own, or is words as it stands."""
    assert set(words.SYSTEMS) <= set(registry.SYSTEMS) and set(words.DATA) <= set(registry.DATASETS)
    for name in registry.SYSTEMS:
        assert "_" not in words.SYSTEMS.get(name, name.replace("spherical_perceptron", "")), name


# The figure.


def texts(figure: Any) -> list[str]:
    shown = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    return shown + [label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel())]


@pytest.mark.parametrize(("width", "inches"), [("column", 3.4), ("page", 7.0)])
def test_the_figure_names_all_and_covers_nothing(width: str, inches: float) -> None:
    found = langevin.compare(springs(), network(), particles(), width=width)
    figure = found.figure()
    assert figure.get_figwidth() == inches and len(figure.axes) == 3
    shown = texts(figure)
    assert shown[:3] == ["harmonic oscillators", "multilayer perceptron, MNIST", "Kob-Andersen mixture"]
    assert not [t for t in shown if re.search(r"\bmsd\b|_error|cross_entropy|\.nc", t)]
    assert r"$C(t_w, t_w+t)/C(t_w, t_w)$ or $F_s$" in shown
    figure.canvas.draw()
    boxes = [ax.get_window_extent() for ax in figure.axes]
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(box) for box in boxes)
        assert legend.get_window_extent().width <= figure.bbox.width
    sizes = [t.get_fontsize() for legend in figure.legends for t in legend.get_texts()]
    sizes += [label.get_fontsize() for ax in figure.axes for label in (ax.xaxis.label, *ax.get_xticklabels())]
    assert min(sizes) >= 7 and max(sizes) <= 9, "read at the size in which it is printed"


def test_as_measured_has_units() -> None:
    found = langevin.compare(particles(), particles(), overlay=True)
    shown = texts(found.figure())
    assert r"time $t$ ($\sigma_{AA}^{2}$/$\epsilon_{AA}$)" in shown
    assert any("energy per particle" in t and r"$\epsilon_{AA}$" in t for t in shown)
    several = langevin.compare(springs(), particles(), scale={"time": "measured", "lag": "time"})
    assert "time $t$ (in each file's unit)" in texts(several.figure())


def test_twelve_results_are_told_apart_and_more_refused() -> None:
    looks = set()
    figure = langevin.compare(*[springs()] * 12, overlay=True, quantity="energy").figure()
    for line in figure.axes[0].lines[:12]:
        looks.add((line.get_color(), line.get_marker()))
    assert len(looks) == 12
    with pytest.raises(UserError, match="13 results: at most 12"):
        langevin.compare(*[springs()] * 13, overlay=True)


# Members of sweeps.


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """A sweep over three temperatures, as the program writes it; each has an energy of its own."""
    own = springs(settings=json.dumps({"system": {"name": "harmonic", "n": 10}, "sweep": {}}))
    parts = [own.assign(energy=own["energy"] + shift) for shift in (0.0, 1.0, 2.0)]
    sweep = xr.concat(parts, xr.DataArray([0.5, 1.0, 1.5], dims="temperature", name="temperature"))
    sweep["temperature"].attrs["sweep_key"] = "dynamics.temperature"
    sweep.assign_attrs(sweep_dimensions="temperature").to_netcdf(tmp_path / "swept.nc")
    return tmp_path / "swept.nc"


def test_members_of_sweeps_stand_beside_others(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(swept.parent)
    with langevin.open(swept) as dataset:
        expected = [m["energy"].mean("replica") for _, m in langevin.members(dataset)]
        at = ["temperature=0.5", "swept.nc:temperature=1.5"]
        found = langevin.compare("swept.nc", particles(), at=at).overlay
        assert found is not None
        assert [words.plain(r.name) for r in found.results] == [
            "harmonic oscillators, N = 10, T = 0.5",
            "harmonic oscillators, N = 10, T = 1.5",
            "Kob-Andersen mixture",
        ]
        two = langevin.compare("swept.nc", at=["temperature=0.5", "temperature=1.5"], overlay=True).overlay
        assert two is not None
        for result, k in zip(two.results, (0, 2), strict=True):
            curve = result.curves["energy"][0]
            np.testing.assert_allclose(curve.y, expected[k].sel(time=curve.at))
        assert len(langevin.scaled("swept.nc")) == 3
    (one,) = langevin.compare("swept.nc", at=["temperature=0.5", "temperature=1.5"])
    assert one.of("energy"), "members of one sweep are of the same quantities"
    with pytest.raises(UserError, match=r"at=\['temperature=7'\]: no such member; allowed: 0\.5, 1, 1\.5"):
        langevin.compare("swept.nc", at=["temperature=7", "temperature=1"])
    with pytest.raises(UserError, match=r"at=\['n=7'\]: no sweep has this name or file; allowed names: temp"):
        langevin.compare("swept.nc", at=["n=7"])


# xarray.


def test_results_concatenate_along_a_new_dimension() -> None:
    """Without a warning, and without an attribute of one system on another."""
    results = [springs(), network(), particles()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = xr.concat(langevin.scaled(*results), dim="system")
    assert both["system"].values.tolist() == words.names(results)
    assert both["energy"].dims == ("system", "time") and both["msd"].dims == ("system", "waiting_time", "lag")
    every = {key for variable in both.variables.values() for key in variable.attrs} | set(both.attrs)
    assert every <= {"long_name", "units"}
    assert both["energy_limit_from"].values.tolist() == ["closed form", "lower bound", "last energy"]
    assert both["time_unit"].values.tolist() == [1.0, 10.0, 1.0]
    # On common times by interpolation: h²/8 of a curve in ln t, with 120 points over four decades.
    e = both["energy"].isel(system=slice(2)).dropna("time")
    np.testing.assert_allclose(e, np.exp(-2 * e["time"].to_numpy()) + np.zeros((2, 1)), atol=2e-3)
    assert float(e["time"][0]) == pytest.approx(1e-3) and e.sizes["time"] == 44
    # In the part that a result has there are no gaps, over which no line would be drawn.
    for _, row in both["energy"].groupby("system"):
        known = np.flatnonzero(np.isfinite(row.squeeze()))
        assert (np.diff(known) == 1).all()
    raw = [d[["energy"]] for d in results]
    with pytest.warns(FutureWarning):
        assert "asymptote" in xr.concat(raw, dim="system")["energy"].attrs, "what opened results would give"


def test_the_lines_of_the_document_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files of these names that hold oscillators; the slow test has those of the five systems."""
    monkeypatch.chdir(tmp_path)
    # Two thirds of the time of a figure; that nothing overlaps is tested above.
    monkeypatch.setattr(Figure, "get_layout_engine", lambda figure: None)
    for name, made in STAND_INS.items():
        made().to_netcdf(f"{name}.nc")
    run_the_lines()


STAND_INS: dict[str, Callable[[], xr.Dataset]] = {
    "ck": springs,
    "pspin": lambda: springs("pspin"),
    "kob_andersen": particles,
    "fully_connected": network,
    "resnet18": lambda: network(data="cifar100"),
}


def run_the_lines() -> None:
    """Run the block of docs/compare.md that lays five systems over each other."""
    (block,) = re.findall(r"^```py\n(.*?)^```", (ROOT / "docs/compare.md").read_text(), re.S | re.M)
    assert len([line for line in block.splitlines() if line.strip()]) <= 10, "ten lines"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        namespace: dict[str, Any] = {}
        exec(compile(block, "docs/compare.md", "exec"), namespace)
    assert namespace["five"].sizes["system"] == 5 and Path("five.png").stat().st_size > 0


@pytest.mark.slow
def test_five_systems_in_one_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of the smoke files, one command, and the lines of the document."""
    monkeypatch.chdir(tmp_path)
    for name in STAND_INS:
        overrides = {"output.path": f"{name}.nc", "output.figure": False}
        langevin.run(ROOT / f"runs/smoke/{name}.toml", overrides, threads=1).close()
    done = command(*(f"{name}.nc" for name in STAND_INS), "-o", "one.png")
    assert done.exit_code == 0, done.output
    for system in ("Cugliandolo-Kurchan", "p-spin", "Kob-Andersen", "fully connected", "ResNet-18"):
        assert system in done.output
    assert Path("one.png").stat().st_size > 0
    run_the_lines()


# The command.


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    springs().to_netcdf("springs.nc")
    network().to_netcdf("net.nc")
    return tmp_path


def test_one_command_makes_figure_and_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Figure, "get_layout_engine", lambda figure: None)
    labels = ["--label", "springs", "--label", "a net"]
    done = command("springs.nc", "net.nc", "--csv", "t.csv", "--scale", "msd=at_waiting_time", *labels)
    assert done.exit_code == 0 and (folder / "springs-net.png").exists(), done.output
    assert "a net  [net.nc]" in done.output and "E₀ = 1, E∞ = 0.25 (lower bound)" in done.output
    assert "t_w = 0.1, 1, 3 of 3" in done.output and "msd = at_waiting_time" in done.output
    with Path("t.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if r["quantity"] == "energy" and r["system"] == "a net")
    assert float(row["at"]) == pytest.approx(10 * float(row["x"])) and row["waiting_time"] == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--scale", "speed=fast"],
            "--scale 'speed=fast': unknown key; allowed: time, lag, energy, msd, corr",
        ),
        (["--scale", "time=slow"], "--scale 'time=slow': allowed for time: measured, scaled, relaxation"),
        (["--scale", "time"], "--scale 'time': write key=value; allowed keys: time, lag"),
        (
            ["--scale", "msd=limit", "--scale", "msd=plateau"],
            "--scale 'msd=plateau': msd = limit is given, too",
        ),
        (
            ["--scale", "msd=plateau", "--quantity", "msd"],
            "nothing to compare: harmonic oscillators: msd: the",
        ),
        (
            ["--quantity", "energy,speed"],
            "--quantity 'speed': in none of the files; allowed: energy, msd, corr",
        ),
        (["--label", "one"], "--label: 1 given; allowed: one for each of 2 results"),
        (["--width", "poster"], "--width 'poster': allowed: column, page"),
        (
            ["--at", "temperature=1"],
            "--at 'temperature=1': no sweep has this name or file; allowed names: none",
        ),
        (["--extrapolate", "--overlay"], "--extrapolate takes no --overlay, --scale, --at and --label"),
        (["--match", "0.5"], "--match 0.5: a factor, so it must be ≥ 1"),
    ],
)
def test_what_is_wrong_is_one_line(options: list[str], said: str, folder: Path) -> None:
    done = command("springs.nc", "net.nc", *options)
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert done.output.startswith(f"langevin: {said}")
    assert not list(folder.glob("*.png"))


def test_what_is_missing_is_said_and_the_rest_drawn() -> None:
    bare = network().drop_vars(["msd", "correlation"])
    found = langevin.compare(springs(), bare)
    assert "multilayer perceptron, MNIST: msd: not in the file" in found.text()
    assert found.overlay is not None and list(found.overlay.results[1].curves) == ["energy"]
    still = springs("pspin")
    still["energy"] = xr.ones_like(still["energy"]).assign_attrs(asymptote=1.0)
    assert "p-spin model: energy: it does not move" in langevin.compare(network(), still).text()
    limit = langevin.compare(springs(), particles(), scale={"msd": "limit"}).text()
    assert "Kob-Andersen mixture: msd: grows without bound, as far as the file knows" in limit
    slow = springs("pspin")
    slow["energy"].attrs["asymptote"] = -9.0
    relaxed = langevin.compare(network(), slow, scale={"time": "relaxation"}).text()
    assert "p-spin model: msd: τ₀ is not known: half of the descent of the energy is not made" in relaxed
    with pytest.raises(UserError, match="compare needs two results or more; given: 1"):
        langevin.compare(springs(), overlay=True)
    with pytest.raises(UserError, match="per_decade = 0: must be ≥ 1"):
        langevin.scaled(springs(), per_decade=0)
