"""langevin.connect, plane, ensemble, compare, plot: what the commands do, as functions."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click
import pytest
import xarray as xr
from click.testing import CliRunner

import langevin
from langevin.commands.cli import COMMANDS, main
from langevin.errors import UserError
from langevin.speech import ARGUMENTS


@pytest.fixture(scope="module")
def spins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a quench of three replicas in one sample, with every configuration stored."""
    path = tmp_path_factory.mktemp("spins") / "spins.nc"
    langevin.run(
        {
            "system": {"name": "pspin", "n": 12, "p": 3},
            "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 1.0},
            "ensemble": {"replicas": 3, "samples": 1},
            "record": {"lags": {"per_decade": 4}, "configurations": "always"},
            "output": {"path": str(path), "figure": False},
        }
    ).close()
    return path


def test_arguments_are_the_options_of_the_commands() -> None:
    #: What the command line alone asks: how much it prints.
    silent = {"quiet"}
    for command in COMMANDS:
        if command.name not in ("connect", "plane", "ensemble", "compare", "plot"):
            continue
        options = {
            str(parameter.opts[0]).removeprefix("--")
            for parameter in command.params
            if isinstance(parameter, click.Option)
        } - silent
        options = {ARGUMENTS.get(name, name).replace("-", "_") for name in options}
        known = set(inspect.signature(getattr(langevin, str(command.name))).parameters)
        assert options <= known, (command.name, options - known)
        arguments = {p.name for p in command.params if isinstance(p, click.Argument)}
        assert known - options <= {*arguments, "progress", "trust"}, command.name


def test_nothing_is_written_unless_a_path_is_given(
    spins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plane = langevin.plane(spins, trajectory=spins, replicas=(2, 1, 0), grid=2)
    assert plane["point_replica"].values.tolist() == [2, 1, 0] and "trajectory_x" in plane
    few = {"dynamics.t_max": 1, "record.times": [1], "record.positions": 3}
    assert "barrier" in langevin.connect(spins, bends=2, overrides=few)
    with langevin.open(spins) as opened:
        (comparison,) = langevin.compare(spins, opened)
        assert comparison.summary("energy").largest == 0
        assert opened["energy"].notnull().all(), "what was open stays open"
    assert len(langevin.plot(spins, quantity="energy").axes) == 1
    assert list(tmp_path.iterdir()) == []
    langevin.plane(spins, grid=2, output="p.nc")
    langevin.plot("p.nc", output=tmp_path / "q.pdf")
    langevin.connect(spins, overrides={**few, "output.figure": False}, output="c.nc").close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.nc", "p.nc", "p.png", "q.pdf"]
    with pytest.raises(UserError, match=r"q\.pdf exists; overwrite it with force=True"):
        langevin.plot("p.nc", output="q.pdf")
    langevin.plot("p.nc", output="q.pdf", force=True)


def test_what_the_command_line_refuses_python_refuses(spins: Path) -> None:
    for keys, words in (
        ({"grid": 1}, "grid=1: must be ≥ 2"),
        ({"margin": -0.5}, r"margin=-0\.5: must be a finite number ≥ 0"),
        ({"normalise": "filters", "random": True}, "normalise='filters': must be one of none, layer, filter"),
    ):
        given: dict[str, Any] = keys
        with pytest.raises(UserError, match=words):
            langevin.plane(spins, **given)


@pytest.mark.parametrize(
    ("command", "ending"),
    [("plot", "png"), ("export", "gsd"), ("connect", "nc"), ("plane", "nc"), ("ensemble", "nc")],
)
def test_outputs_are_checked_in_one_way(command: str, ending: str, spins: Path, tmp_path: Path) -> None:
    given, lost = tmp_path / f"given.{ending}", tmp_path / "no" / f"x.{ending}"
    given.write_bytes(spins.read_bytes())
    folder = tmp_path / f"folder.{ending}"
    folder.mkdir()
    for path, words in (
        (lost, f"{lost}: there is no folder {lost.parent}"),
        (given, f"{given} is one of the files to read"),
        (folder, f"{folder} is a folder; give a file"),
        (tmp_path / "x.odd", "format '.odd'"),
    ):
        read = given if path == given else spins
        done = CliRunner().invoke(main, [command, str(read), "-o", str(path), "--force"])
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert words in done.output
    assert given.read_bytes() == spins.read_bytes()


def test_a_figure_is_replaced_with_force_only(spins: Path, tmp_path: Path) -> None:
    file, figure = tmp_path / "a.nc", tmp_path / "a.png"
    file.write_bytes(spins.read_bytes())
    figure.write_text("precious")
    done = CliRunner().invoke(main, ["plot", str(file)])
    assert done.exit_code == 2 and "a.png exists; overwrite it with --force" in done.output
    assert figure.read_text() == "precious"
    for options, name in ((["--force"], "a.png"), (["--quantity", "energy"], "a-energy.png")):
        done = CliRunner().invoke(main, ["plot", str(file), *options])
        assert done.exit_code == 0 and (tmp_path / name).stat().st_size > 1000, done.output


def test_only_what_classifies_is_told_to_store_snapshots(spins: Path) -> None:
    """Every system has a method `predict`; a solution of equations has no configurations either."""
    run = langevin.run(
        {
            "system": {"name": "cugliandolo_kurchan", "p": 3},
            "dynamics": {"temperature": 0.5, "t_max": 1.0},
            "record": {"waiting_times": [0.0], "lags": [0.5, 1.0]},
        }
    )
    solution = spins.with_name("ck.nc")
    run.to_netcdf(solution)
    for path in (spins, solution):
        with pytest.raises(
            UserError, match=r"system\.name = '\w+' classifies nothing; allowed: networks"
        ) as said:
            langevin.ensemble(path)
        assert "snapshots" not in str(said.value)
    with xr.open_dataset(solution) as found:
        assert "configuration" not in found
