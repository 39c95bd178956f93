"""Curves between stored configurations of models: ends, disorder, methods, sweeps, figures, summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import langevin
from langevin import plotting
from langevin.analysis import connect
from langevin.commands.cli import main
from langevin.errors import Interrupted, UserError
from langevin.results import summary
from langevin.running.session import Session
from langevin.sweep import simulation

#: Four replicas in each of two samples: labels k, sample k mod 2.
QUENCH: dict[str, Any] = {
    "system": {"name": "pspin", "p": 3, "n": 10, "couplings": "float64"},
    "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 20.0},
    "ensemble": {"replicas": 8, "samples": 2, "seed": 4},
    "record": {"times": [20.0], "waiting_times": [], "lags": [], "snapshots": [1.0, 20.0]},
}


@pytest.fixture(scope="module")
def quench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quench") / "quench.nc"
    langevin.run({**QUENCH, "output": {"path": str(path), "figure": False}}).close()
    return path


def connected(quench: Path, output: Path, *options: str) -> xr.Dataset:
    arguments = ["connect", str(quench), "-o", str(output), "--set", "dynamics.t_max=10", *options]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "barrier along the curve" in done.output
    return langevin.open(output).load()


@pytest.mark.parametrize("kind", ["bezier", "chain", "band"])
def test_pairs_live_in_their_samples(kind: str, quench: Path, tmp_path: Path) -> None:
    """Replicas 0 and 2 of sample 0, then 1 and 3 of sample 1, then 4 and 6, then 5 and 7."""
    found = connected(quench, tmp_path / "c.nc", "--curve", kind, "--bends", "3")
    first, last = [0, 1, 4, 5], [2, 3, 6, 7]
    with langevin.open(quench) as ends:
        x, energy = ends["snapshot"][-1].to_numpy(), ends["energy"][:, -1].to_numpy()
    np.testing.assert_array_equal(found["sample"], [0, 1, 0, 1])
    np.testing.assert_array_equal(found["control"][:, 0], x[first])
    np.testing.assert_array_equal(found["control"][:, -1], x[last])
    # The same couplings: another sample's would give these configurations other energies.
    for way in ("curve", "shortest"):
        np.testing.assert_allclose(found[f"{way}_energy"][:, 0], energy[first], atol=1e-12)
        np.testing.assert_allclose(found[f"{way}_energy"][:, -1], energy[last], atol=1e-12)
    # On the sphere, after descent, below the great arc: by what the search is for.
    np.testing.assert_allclose(np.mean(found["control"] ** 2, axis=-1), 1, atol=1e-12)
    assert float(found["barrier"].mean()) < float(found["shortest_barrier"].mean())
    assert found["control"].attrs["curve"] == kind


def test_an_earlier_time_has_other_ends(quench: Path, tmp_path: Path) -> None:
    found = connected(quench, tmp_path / "c.nc", "--time", "1")
    with langevin.open(quench) as ends:
        np.testing.assert_array_equal(found["control"][:, 0], ends["snapshot"][0, [0, 1, 4, 5]])


def test_another_disorder_is_refused(quench: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.nc"
    again = {**QUENCH, "ensemble": {**QUENCH["ensemble"], "seed": 5}}
    langevin.run({**again, "output": {"path": str(other), "figure": False}}).close()
    done = CliRunner().invoke(main, ["connect", str(quench), str(other), "-o", str(tmp_path / "c.nc")])
    assert done.exit_code == 2
    assert "other disorder, seeds 4 and 5" in done.output
    assert not (tmp_path / "c.nc").exists()


@pytest.mark.parametrize("again", [True, False])
def test_a_curve_goes_on_between_the_ends_that_it_began_with(
    again: bool, quench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ends.nc").write_bytes(quench.read_bytes())
    settings = connect.settings(Path("ends.nc"), output=Path("c.nc"))

    def stop(session: Any, run: Any) -> None:
        session._checkpoint()
        raise Interrupted("stopped")

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Session, "_tick", stop)
        simulation.execute(settings)
    if again:
        langevin.run({**QUENCH, "output": {"path": "ends.nc", "figure": False}}, force=True).close()
        langevin.resume("c.nc").close()
        return
    other = {**QUENCH, "dynamics": {**QUENCH["dynamics"], "dt": 0.04}}
    langevin.run({**other, "output": {"path": "ends.nc", "figure": False}}, force=True).close()
    with pytest.raises(UserError, match="the run began with inputs of hash"):
        langevin.resume("c.nc")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("dynamics.temperature=0.1", "dynamics.temperature = 0.1: must be 0"),
        ("system.loss=uniform_length", 'system.loss = "uniform_length": allowed: "uniform_t"'),
        ("system.spring=10.0", "dynamics.dt = 0.05: must be < 0.05"),
        ("ensemble.samples=1", "ensemble.samples = 1: must be 2"),
    ],
)
def test_what_a_band_cannot_be(assignment: str, said: str, quench: Path, tmp_path: Path) -> None:
    arguments = ["connect", str(quench), "--curve", "band", "-o", str(tmp_path / "c.nc"), "--set", assignment]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and said in done.output, done.output


def test_a_sweep_of_ages_is_one_figure(quench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = langevin.run(
        {
            "system": {"name": "curve", "start": str(quench)},
            "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 2.0},
            "ensemble": {"replicas": 4, "samples": 2, "seed": 4},
            "record": {"times": [2.0], "waiting_times": [], "lags": [], "positions": 5},
            "sweep": {
                "system.time": [1, 20],
                "way": {"system.curve": ["chain", "band"], "system.bends": [1, 2]},
            },
        }
    )
    made = plotting.figure(found)
    left, right = made.axes
    assert left.get_xlabel() == "age $t_w$ of the ends"
    assert " ".join(right.get_ylabel().split()) == "highest energy per degree of freedom"
    (legend,) = made.legends
    assert legend.get_title().get_text() == "bars: too few samples: 2 of at least 8"
    names = {entry.get_text() for entry in legend.get_texts()}
    assert names == {"shortest way", "polygonal chain, 1 bend", "elastic band, 2 pivots", "higher end"}
    drawn = left.containers[1].lines[0].get_ydata()  # type: ignore[attr-defined]
    expected = found["barrier"].isel(way=0).groupby("sample").mean("replica").mean("sample")
    np.testing.assert_allclose(drawn, expected)


def test_the_figure_of_one_run(quench: Path, tmp_path: Path) -> None:
    found = connected(quench, tmp_path / "c.nc")
    left, right = plotting.figure(found).axes
    assert left.get_ylabel() == "energy per degree of freedom"
    assert right.get_ylabel() == "rms distance per degree of freedom"
    thick = [line for line in left.lines if line.get_label() == "Bezier curve"]
    np.testing.assert_allclose(
        thick[0].get_ydata(), found["curve_energy"].groupby("sample").mean().mean("sample")
    )
    assert "barrier along the shortest way" in summary.results(found)
