"""`langevin compare`: statistics of known truth, pairing, extrapolation, figure, and what a user meets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from conftest import SIGMAS
from matplotlib.backends.backend_agg import FigureCanvasAgg

import langevin
from langevin.analysis import compare
from langevin.analysis.compare import figure, report
from langevin.commands.cli import main
from langevin.errors import UserError

TIMES = np.concatenate([[0.0], np.geomspace(0.1, 100, 31)])


def made(
    shift: float = 0.0,
    waiting: Sequence[float] = (1.0, 10.0),
    times: np.ndarray = TIMES,
    samples: int = 100,
    seed: int = 0,
    n: int | None = None,
    noise: float = 0.1,
    title: str = "",
    **dynamics: Any,
) -> xr.Dataset:
    """A result with independent Gaussian values at every time around E = −t/(1 + t) + shift + 2/n."""
    rng = np.random.default_rng(seed)
    lags = times[times > 0]
    energy = -times / (1 + times) + shift + (2 / n if n else 0)
    msd = np.array([lags / (1 + w + lags) + shift + (1 / n if n else 0) for w in waiting])
    dataset = xr.Dataset(
        {
            "energy": (("replica", "time"), energy + noise * rng.standard_normal((samples, times.size))),
            "msd": (
                ("replica", "waiting_time", "lag"),
                msd + noise * rng.standard_normal((samples, *msd.shape)),
            ),
        },
        {
            "sample": ("replica", np.arange(samples)),
            "time": times,
            "waiting_time": list(waiting),
            "lag": lags,
        },
    )
    settings: dict[str, Any] = {"system": {"name": "own"}, "dynamics": {"temperature": 0.5, **dynamics}}
    if n:
        settings["system"]["n"] = n
    dataset.attrs = {"title": title, "settings": json.dumps(settings)}
    return dataset


def numerical(**options: Any) -> xr.Dataset:
    """A numerical solution: one replica, no noise, and errors of its own."""
    dataset = made(samples=1, noise=0.0, **options)
    for name in ("energy", "msd"):
        dataset[f"{name}_error"] = xr.full_like(dataset[name], 1e-4)
    return dataset


def langevin_compare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *(str(a) for a in arguments)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made(seed=1).to_netcdf("a.nc")
    made(seed=2).to_netcdf("b.nc")
    return tmp_path


# Statistics.


def test_equal_physics_gives_z_of_variance_one() -> None:
    """Some 900 independent z from 100 samples a side: mean 0, variance 1, each at 5 σ."""
    z = np.concatenate(
        [compare.compare(made(seed=2 * k), made(seed=2 * k + 1)).table()["z"] for k in range(10)]
    )
    assert z.size == 10 * (32 + 2 * 31)
    assert abs(z.mean()) < SIGMAS / np.sqrt(z.size)
    # With 198 degrees of freedom z² has mean 198/196.
    assert abs(np.mean(z**2) - 198 / 196) < SIGMAS * np.sqrt(2 / z.size)


def test_a_shift_is_found_with_its_sign_and_size() -> None:
    table = compare.compare(made(seed=1), made(seed=2, shift=0.1)).table()
    # σ = 0.1·√(2/100): the shift is 7.1 of them; the mean of 94 independent z has error 0.1 (5 σ; 2 % for σ).
    assert float(table["z"].mean()) == pytest.approx(0.1 / (0.1 * np.sqrt(2 / 100)), abs=0.55 + 0.15)
    assert float(table["difference"].mean()) == pytest.approx(0.1, abs=SIGMAS * 0.1 * np.sqrt(2 / 9400))
    np.testing.assert_allclose(table["difference"], table["value_b"] - table["value_a"])
    z = compare.compare(made(seed=1), made(seed=2)).table()["z"].to_numpy()[:32]
    summary = compare.compare(made(seed=1), made(seed=2)).summary("energy")
    assert summary.rms_z == pytest.approx(float(np.sqrt((z**2).mean())))
    assert summary.largest == float(z[np.abs(z).argmax()])
    assert summary.at == TIMES[int(np.abs(z).argmax())]


def test_samples_not_replicas_carry_the_error() -> None:
    """Each sample four times over: no error bar may shrink."""
    a, b = made(seed=1), made(seed=2)
    often = xr.concat([b] * 4, "replica")
    xr.testing.assert_allclose(compare.compare(a, often).table(), compare.compare(a, b).table())


def test_a_numerical_solution_brings_its_own_errors() -> None:
    dense = np.geomspace(0.1, 100, 301) * 1.001
    found = compare.compare(numerical(times=dense), made(seed=3))
    points = found.of("energy")[0].points
    np.testing.assert_allclose(points.a_error, 1e-4)
    assert set(points.interpolated) == {"A"}
    np.testing.assert_allclose(points.sigma**2, points.b_error**2 + 1e-8 + points.interpolation**2)
    assert (points.interpolation < 0.1 * points.b_error).all()
    # 93 independent z: their variance 1 to 5 σ.
    assert abs(np.mean(found.table()["z"] ** 2) - 1) < SIGMAS * np.sqrt(2 / 90)
    # Below the first time of A nothing is compared.
    assert points.x.min() > 0.1


def test_without_error_bar_the_difference_is_given_but_not_in_sigmas() -> None:
    alone = made(seed=2, samples=1, shift=0.3, noise=0.0)
    found = compare.compare(made(seed=1), alone)
    table = found.table()
    assert table["z"].isnull().all()
    assert float(table["difference"].mean()) == pytest.approx(0.3, abs=0.01)
    summary = found.summary("energy")
    assert (summary.with_error, np.isnan(summary.rms_z)) == (0, True)
    assert any("energy: no error bar in B" in note for note in found.notes)
    assert "no error bar; largest |B − A|" in report.text([found])
    figure.figure([found])


def test_different_physics_disagrees_and_equal_physics_agrees() -> None:
    """Two seeds of harmonic oscillators, and the control at another temperature."""

    def run(seed: int, temperature: float) -> xr.Dataset:
        return langevin.run(
            {
                "system": {"name": "harmonic", "n": 100},
                "dynamics": {
                    "temperature": temperature,
                    "initial_temperature": 0.1,
                    "dt": 0.01,
                    "t_max": 3.0,
                },
                "ensemble": {"replicas": 64, "seed": seed},
                "record": {"waiting_times": [0.0, 0.5], "configurations": "never"},
            }
        )

    a, b, hot = run(1, 1.0), run(2, 1.0), run(3, 1.3)
    for name in ("energy", "msd"):
        # Strongly correlated in time: rms z of equal curves scatters between 0.3 and 2.
        assert compare.compare(a, b).summary(name).rms_z < 2.5
        control = compare.compare(a, hot)
        assert control.summary(name).rms_z > 5
    assert "dynamics.temperature = 1.0 in A, 1.3 in B" in control.notes


def test_z_from_few_samples_is_student_distributed() -> None:
    """4 against 4 samples: rms z 1.22, not 1, and 1 as normal deviates; p uniform (5 σ of 640 points)."""
    dense = np.geomspace(0.1, 100, 640)
    found = compare.compare(
        made(seed=1, samples=4, times=dense, waiting=[1.0]),
        made(seed=2, samples=4, times=dense, waiting=[1.0]),
    )
    s = found.summary("energy")
    assert s.expected_rms == pytest.approx(np.sqrt(6 / 4), abs=0.02) and s.degrees == pytest.approx(
        6, abs=0.1
    )
    # 640 points: z² has mean 1.5 and, the fourth moment of t₆ being 13.5, deviation 3.4; 5 σ of the rms 0.27.
    assert s.rms_z == pytest.approx(s.expected_rms, abs=0.27)
    assert s.rms_deviate == pytest.approx(1, abs=SIGMAS * np.sqrt(1 / 2 / 640) + 0.02)
    table = found.table()
    p = table["p"].to_numpy()[:640]
    assert abs(np.mean(p < 0.05) - 0.05) < SIGMAS * np.sqrt(0.05 * 0.95 / 640)
    # The control: as a normal deviate z would be too large twice as often.
    z = table["z"].to_numpy()[:640]
    assert np.mean(np.abs(z) > 1.96) > 0.08
    assert np.sign(z).tolist() == np.sign(table["deviate"].to_numpy()[:640]).tolist()
    assert "(1.22 expected of equal curves, ν = 6" in report.text([found])
    assert compare.compare(numerical(), numerical()).summary("energy").expected_rms == 1
    half = compare.compare(numerical(times=dense), made(seed=2, samples=4, times=dense)).summary("energy")
    assert half.degrees == pytest.approx(3, abs=0.01), "a solution's error is known"
    two = compare.compare(made(seed=1, samples=2), made(seed=2, samples=2))
    assert "∞ expected of equal curves" in report.text([two]) and np.isfinite(
        two.summary("energy").rms_deviate
    )
    assert any("too few samples: 2 of at least" in note for note in two.notes)


def test_what_is_not_one_quantity_has_no_z() -> None:
    """Other units, or another meaning: values side by side, an axis each, and no difference in σ."""
    a, b = made(seed=1), made(seed=2)
    a["energy"].attrs["long_name"], b["energy"].attrs["long_name"] = "energy per spin", "training loss"
    b["msd"].attrs["units"] = "sigma_AA^2"
    found = compare.compare(a, b)
    for name in ("energy", "msd"):
        assert not found.alike(name) and np.isnan(found.summary(name).rms_z)
    table = found.table()
    assert np.isnan(table[["z", "p", "deviate"]].to_array()).all() and table["difference"].notnull().all()
    shown = report.text([found])
    assert "not one quantity in A and B: no difference is given" in shown and "rms z" not in shown
    drawn = figure.figure([found])
    assert [ax.get_ylabel() for ax in drawn.axes if "energy per" in ax.get_ylabel()] == [
        "energy per spin $E(t)$"
    ]
    assert any("training loss" in ax.get_ylabel() for ax in drawn.axes) and len(drawn.axes) == 4
    left, right = drawn.axes[2:]
    spans = [np.diff(np.log10(ax.get_ylim()))[0] for ax in (left, right)]
    assert spans[0] == pytest.approx(spans[1]), "a power has one slope on both"
    # Without a word on either side there is nothing to tell them apart.
    assert compare.compare(made(seed=1), a).alike("energy")


def test_files_beside_one_reference_have_letters_of_their_own(folder: Path) -> None:
    made(seed=3).to_netcdf("c.nc")
    done = langevin_compare("a.nc", "b.nc", "c.nc")
    assert "B  b  [b.nc]" in done.output and "C  c  [c.nc]" in done.output and "(C − A)/σ" in done.output
    found = [compare.compare(made(seed=1), made(seed=k), letter=x) for k, x in ((2, "B"), (3, "C"))]
    (legend,) = figure.figure(found).legends
    assert [t.get_text()[0] for t in legend.get_texts()] == ["A", "B", "C"]


# Pairing.


@pytest.mark.parametrize(
    ("a", "b", "match", "pairs"),
    [
        ([1, 10, 100], [100, 1, 10], 1.1, [(1, 1), (10, 10), (100, 100)]),
        ([1.0, 1.05], [1.02], 1.1, [(1.0, 1.02)]),
        ([1.0, 1.05], [1.04], 1.1, [(1.05, 1.04)]),
        ([1.0], [1.12], 1.1, []),
        ([1.0], [1.12], 1.2, [(1.0, 1.12)]),
        ([1.0], [1.1], 1.1, [(1.0, 1.1)]),
        ([0.0, 1e-9], [0.0], 1.1, [(0.0, 0.0)]),
        ([0.0], [1e-9], 1e6, []),
    ],
)
def test_waiting_times_are_paired_nearest_first(
    a: list[float], b: list[float], match: float, pairs: list[tuple[float, float]]
) -> None:
    assert compare.pair(a, b, match) == pairs


def test_paired_and_unpaired_waiting_times_are_said() -> None:
    found = compare.compare(made(waiting=[1.0, 10.0, 50.0]), made(waiting=[2.0, 3.0, 10.5, 50.0], seed=1))
    assert [d.waiting for d in found.of("msd")] == [(10.0, 10.5), (50.0, 50.0)]
    assert [line.partition(":")[0] for line in found.unmatched] == [
        "t_w = 1 in A",
        "t_w = 2 in B",
        "t_w = 3 in B",
    ]
    assert any("differ by up to 5 %" in note for note in found.notes)
    # Each curve is compared with its partner, not with the row of the same number.
    assert found.summary("msd").rms_z < 1.5
    shown = report.text([found])
    assert "10.5" in shown and "not compared: t_w = 1 in A" in shown


def test_no_matching_waiting_time_leaves_the_energies() -> None:
    found = compare.compare(made(waiting=[1.0]), made(waiting=[2.0]))
    assert {d.quantity for d in found.differences} == {"energy"}
    assert "msd: no matching waiting time" in found.notes
    figure.figure([found])


def test_an_unfinished_run_is_compared_as_far_as_it_has_come() -> None:
    part = made(seed=2)
    part = part.where(part["time"] < 5).assign(msd=part["msd"].where(part["waiting_time"] < 5))
    found = compare.compare(made(seed=1), part)
    assert found.of("energy")[0].points.x.max() < 5
    assert [d.waiting for d in found.of("msd")] == [(1.0, 1.0)]
    assert "t_w = 10 in B: not reached" in found.unmatched


def test_runs_that_share_a_seed_are_said_not_to_be_independent() -> None:
    a, b = (made(seed=k).assign_attrs(seed="7") for k in (1, 2))
    assert any("seed 7 in several" in note for note in compare.compare(a, b).notes)
    assert not any("seed" in note for note in compare.compare(a, b.assign_attrs(seed="8")).notes)
    finite = [made(n=n, seed=n).assign_attrs(seed="7") for n in (16, 24)]
    assert any("seed 7 in several" in note for note in compare.extrapolate([numerical(), *finite]).notes)


def test_quantities() -> None:
    a, b = made(seed=1), made(seed=2)
    renamed = [d.rename(msd="response") for d in (a, b)]
    assert compare.compare(*renamed, quantity="response").of("response")
    energies = compare.compare(a, renamed[1])
    assert energies.quantity is None and "no msd in" in " ".join(energies.notes)
    with pytest.raises(UserError, match="'overlap': not in dataset; allowed: msd"):
        compare.compare(a, b, quantity="overlap")
    with pytest.raises(UserError, match="allowed: none, the files share no"):
        compare.compare(a, renamed[1], quantity="msd")
    with pytest.raises(UserError, match=r"nothing to compare.*energy: none over time in A"):
        compare.compare(a.drop_vars("energy"), renamed[1])
    b["energy"].attrs["units"] = "K"
    assert any("units differ" in note for note in compare.compare(a, b).notes)


# Extrapolation.

SIZES = (16, 24, 32, 64)


def test_a_known_law_in_one_over_n_extrapolates_to_its_limit() -> None:
    """94 independent z of intercepts: mean 0, variance 1, χ² its degrees, at 5 σ. Control: N = 64 alone."""
    finite = [made(n=n, seed=n, samples=200) for n in SIZES]
    found = compare.extrapolate([finite[2], numerical(), *finite[:2], finite[3]])
    z = found.table()["z"].to_numpy()
    assert z.size == 94
    assert abs(z.mean()) < SIGMAS / np.sqrt(z.size)
    assert abs(np.mean(z**2) - 1) < SIGMAS * np.sqrt(2 / z.size)
    fit = found.fits[0].fit
    assert (fit.degrees, fit.coefficients.shape[0]) == (1, 3)
    chi2 = np.concatenate([f.fit.chi2 for f in found.fits])
    assert abs(chi2.mean() - 1) < SIGMAS * np.sqrt(2 / chi2.size)
    np.testing.assert_array_equal(found.fits[0].sizes, SIZES)
    assert compare.compare(numerical(), finite[3]).summary("energy").rms_z > 3


def test_the_limit_of_wrong_physics_is_refuted() -> None:
    found = compare.extrapolate([numerical(shift=0.1), *(made(n=n, seed=n) for n in SIZES[:3])])
    assert found.fits[0].fit.coefficients.shape[0] == 2
    assert found.summary("energy").rms_z > 2.5
    assert found.of("energy")[0].points.difference.mean() == pytest.approx(-0.1, abs=0.03)


def test_a_short_run_of_the_pspin_model() -> None:
    """Three sizes of the real thing run through; E(0) = 0 in the limit (5 σ)."""

    def run(n: int) -> xr.Dataset:
        return langevin.run(
            {
                "system": {"name": "pspin", "p": 3, "n": n},
                "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": 2.0},
                "ensemble": {"replicas": 60, "samples": 30, "seed": n},
                "record": {"waiting_times": [0.0, 1.0], "configurations": "never"},
            }
        )

    reference = numerical(waiting=[0.0, 1.0])
    found = compare.extrapolate([reference, *(run(n) for n in (16, 24, 32))])
    start = found.of("energy")[0].points
    assert start.x[0] == 0.0
    assert abs(start.z[0]) < SIGMAS
    assert len(figure.figure([found]).axes) == 5


@pytest.mark.parametrize(
    ("datasets", "options", "words"),
    [
        (lambda: [made(n=16), made(n=24)], {}, "without it are 0"),
        (lambda: [made(n=16), made(), made()], {}, "without it are 2"),
        (lambda: [made(), made(n=16), made(n=16)], {}, "needs 2 different system.n; there are 1"),
        (lambda: [made(), made(n=16), made(n=24)], {"order": 2}, "order 2 in 1/N needs 3"),
        (lambda: [made(), made(n=16), made(n=24, temperature=0.6)], {}, "dynamics.temperature differs, 0.5"),
        (lambda: [made(), made(n=16), made(n=24, samples=1)], {}, "no error bar of energy"),
        (lambda: [made(), made(n=16), made(n=24, times=TIMES * 1.01 + 0.01)], {}, "share no time of energy"),
    ],
)
def test_files_that_cannot_be_extrapolated(
    datasets: Callable[[], list[xr.Dataset]], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        compare.extrapolate(datasets(), **options)


def test_a_default_written_out_is_no_difference() -> None:
    def given(n: int, **dynamics: Any) -> xr.Dataset:
        dataset = made(n=n, seed=n)
        settings = {"system": {"name": "pspin", "p": 3, "n": n}, "dynamics": {"temperature": 0.5, **dynamics}}
        return dataset.assign_attrs(settings=json.dumps(settings))

    compare.extrapolate([made(), given(16), given(24, initial_temperature=float("inf"), t_max=7.0)])
    with pytest.raises(UserError, match="initial_temperature differs, inf"):
        compare.extrapolate([made(), given(16), given(24, initial_temperature=0.8)])


def stepped(n: int, dt: float, **options: Any) -> xr.Dataset:
    """A finite-N file with a time step, and a bias of that."""
    found = made(n=n, seed=n + round(1e4 * dt), dt=dt, **options)
    return found.assign(energy=found["energy"] + 3 * dt, msd=found["msd"] + dt)


def test_size_and_step_are_extrapolated_together() -> None:
    """94 independent z of limits: mean 0 and variance 1 at 5 σ. Control: one step."""
    pairs = ((16, 0.02), (24, 0.02), (32, 0.02), (64, 0.02), (16, 0.01), (16, 0.04), (24, 0.04))
    found = compare.extrapolate([numerical(), *(stepped(*pair, samples=100) for pair in pairs)])
    z = found.table()["z"].to_numpy()
    assert abs(z.mean()) < SIGMAS / np.sqrt(z.size) and abs(np.mean(z**2) - 1) < SIGMAS * np.sqrt(2 / z.size)
    f = found.fits[0]
    assert (f.order, f.fit.coefficients.shape[0], f.fit.degrees) == (2, 4, 3)
    assert "dt → 0" in found.b.label and "linear in dt, dt = 0.01, 0.02, 0.04" in report.text([found])
    assert f.steps is not None
    np.testing.assert_allclose(f.without_bias, f.values - f.fit.coefficients[3] * f.steps[:, None])
    assert len(figure.figure([found]).axes) == 5
    one = compare.extrapolate([numerical(), *(stepped(*pair, samples=400) for pair in pairs[:4])])
    assert one.table()["difference"].mean() > 0.03, "the bias of the step stays"
    with pytest.raises(UserError, match="do not tell order 1 in 1/N from 1 powers"):
        compare.extrapolate([numerical(), *(stepped(n, 0.32 / n) for n in (16, 32, 32))])
    with pytest.raises(UserError, match="an order in dt needs files that differ"):
        compare.extrapolate([numerical(), *(made(n=n) for n in (16, 24))], step_order=1)


def test_a_poor_fit_is_said() -> None:
    finite = [made(n=n, seed=n, shift=8 / n**1.5) for n in (4, 8, 16, 32)]
    shown = report.text([compare.extrapolate([numerical(), *finite], order=1)])
    assert "a poor fit: the sizes are too small for the order" in shown
    right = report.text([compare.extrapolate([numerical(), *(made(n=n, seed=n) for n in SIZES)])])
    assert "p of χ²: median" in right and "a poor fit" not in right


# Labels, figure, command.


def test_labels_tell_files_apart(folder: Path) -> None:
    from langevin.analysis.compare.files import labels

    assert labels([made(title="one"), made(title="two")]) == ["one", "two"]
    assert labels([made(title="q", n=8), made(title="q", n=16)]) == ["q, N = 8", "q, N = 16"]
    with langevin.open("a.nc") as a, langevin.open("b.nc") as b:
        assert labels([a, b]) == ["a", "b"]
    assert labels([made(), made()]) == ["A", "B"]


@pytest.mark.parametrize("count", [1, 3])
def test_texts_of_the_figure_stay_inside_and_apart(count: int) -> None:
    long = "a quench of the 3-spin model"
    others = [made(seed=k, waiting=(1.0, 2.0, 4.0, 8.0, 16.0), title=f"{long} {k}") for k in range(count + 1)]
    for d in others:
        d["msd"].attrs["long_name"] = "mean square displacement per degree of freedom"
    found = [compare.compare(others[0], other) for other in others[1:]]
    drawn = figure.figure(found)
    FigureCanvasAgg(drawn).draw()
    boxes = []
    for ax in drawn.axes:
        boxes += [text.get_window_extent() for text in (ax.xaxis.label, ax.yaxis.label) if text.get_text()]
        boxes.append(ax.get_window_extent())
        legend = ax.get_legend()
        if legend is not None:
            inside, axes = legend.get_window_extent(), ax.get_window_extent()
            assert axes.x0 <= inside.x0 and inside.x1 <= axes.x1
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    legend = drawn.axes[2].get_legend()
    assert legend is not None and "(4 of 5)" in legend.get_title().get_text()


def test_the_command_writes_a_table_a_figure_and_a_csv_file(folder: Path) -> None:
    done = langevin_compare("a.nc", "b.nc", "--csv", "all.csv")
    assert done.exit_code == 0, done.output
    for word in (
        "A  a  [a.nc]",
        "(B − A)/σ",
        "rms z",
        "max |z|",
        "correlated",
        "t_w of B",
        "figure  a-b.png",
    ):
        assert word in done.output
    assert max(len(line) for line in done.output.splitlines()) < 105
    assert {p.name for p in folder.iterdir()} == {"a.nc", "b.nc", "a-b.png", "all.csv"}
    with langevin.open("a.nc") as a, langevin.open("b.nc") as b:
        table = compare.compare(a, b).table()
    with Path("all.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == table.sizes["row"]
    assert [float(row["z"]) for row in rows] == table["z"].to_numpy().tolist()
    assert (rows[0]["lag"], rows[-1]["time"]) == ("", "")


def test_three_files_and_an_extrapolation(folder: Path) -> None:
    numerical(title="the limit").to_netcdf("ck.nc")
    for n in (16, 24, 32):
        made(n=n, seed=n).to_netcdf(f"n{n}.nc")
    done = langevin_compare("a.nc", "b.nc", "n16.nc", "-o", "three.pdf")
    assert (done.exit_code, done.output.count("\nA  a  [a.nc]") + done.output.startswith("A  a")) == (0, 2)
    assert Path("three.pdf").stat().st_size > 1000
    done = langevin_compare("n16.nc", "ck.nc", "n24.nc", "n32.nc", "--extrapolate")
    assert done.exit_code == 0, done.output
    for word in (
        "A  the limit",
        "N → ∞ from N = 16, 24, 32",
        "linear in 1/N",
        "χ² per degree of freedom (1)",
    ):
        assert word in done.output
    done = langevin_compare("n16.nc", "ck.nc", "n24.nc", "n32.nc", "--extrapolate", "--order", 2, "--force")
    assert "nothing tests the fit" in done.output
    # The figure of the first call stood in the way.
    assert langevin_compare("n16.nc", "ck.nc", "n24.nc", "n32.nc", "--extrapolate").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "two files or more; given: 0"),
        (["a.nc"], "two files or more; given: 1"),
        (["a.nc", "a.nc"], "the same file twice"),
        (["a.nc", "./a.nc"], "the same file twice"),
        ([".", "a.nc"], ". is a folder"),
        (["a.nc", "missing.nc"], "missing.nc: no such file"),
        (["a.nc", "text.nc"], "text.nc: not a netCDF file"),
        (["a.nc", "foreign.nc"], "not a result of langevin"),
        (["a.nc", "late.nc"], "nothing to compare"),
        (["a.nc", "late.nc"], "no common range"),
        (["a.nc", "twice.nc"], "each once"),
        (["a.nc", "broken.nc"], "settings is not JSON"),
        (["a.nc", "b.nc", "--quantity", "overlap"], "allowed: msd"),
        (["a.nc", "b.nc", "--match", "0.5"], "must be ≥ 1"),
        (["a.nc", "b.nc", "--match", "nan"], "must be ≥ 1"),
        (["a.nc", "b.nc", "--order", "1"], "needs --extrapolate"),
        (["a.nc", "b.nc", "--extrapolate"], "without it are 2: a.nc, b.nc"),
        (["a.nc", "b.nc", "-o", "x.docx"], "unknown figure format"),
        (["a.nc", "b.nc", "-o", "no/x.png"], "no folder no"),
        (["a.nc", "b.nc", "--csv", "a.nc", "--force"], "one of the files to read"),
        (["a.nc", "b.nc", "--csv", "x.png", "-o", "x.png"], "cannot be one file"),
        (["a.nc", "b.nc", "-o", "old.png"], "old.png exists; overwrite it with --force"),
        (["a.nc", "b.nc", "--csv", "old.png"], "old.png exists"),
    ],
)
def test_mistakes_are_one_clear_line(folder: Path, arguments: list[str], words: str) -> None:
    Path("text.nc").write_text("no netCDF")
    Path("old.png").write_text("precious")
    xr.Dataset({"energy": ("x", [1.0])}).to_netcdf("foreign.nc")
    made(times=TIMES[1:] + 1e6, waiting=[1e6]).to_netcdf("late.nc")
    made(times=np.array([0.0, 1.0, 1.0, 2.0])).to_netcdf("twice.nc")
    made().assign_attrs(settings="{").to_netcdf("broken.nc")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = langevin_compare(*arguments)
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert done.output.startswith("langevin: ")
    assert words in done.output
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_the_figure_of_a_limit_with_only_some_things_in_common() -> None:
    finite = [made(n=n, seed=n) for n in (16, 24, 32)]
    # Energies at late times only in the reference, the msd as before; and the other way round.
    late = numerical().assign_coords(time=TIMES + 1e6)
    drawn = figure.figure([compare.extrapolate([late, *finite])])
    assert len(drawn.axes) == 2
    drawn = figure.figure([compare.extrapolate([numerical(waiting=[5.0]), *finite])])
    assert [ax.get_xlabel() for ax in drawn.axes] == ["", "time $t$", "$1/N$"]
    # Three sizes, fit and limit at four times.
    assert len(drawn.axes[2].containers) == 8


def test_the_energy_may_be_all_that_is_asked_for() -> None:
    made_of = compare.compare(made(seed=1), made(seed=2), quantity="energy")
    assert made_of.quantity is None and made_of.of("energy")
    with pytest.raises(UserError, match=r"'energy_error': not in dataset; allowed: msd, energy alone$"):
        compare.compare(made(seed=1), made(seed=2), quantity="energy_error")
    with pytest.raises(UserError, match="'time': no two-time observable in dataset; allowed: msd"):
        compare.compare(made(seed=1), made(seed=2), quantity="time")
