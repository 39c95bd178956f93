"""Trackers of experiments: what they are told is what is measured, once, whatever becomes of the process."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_recorder import walking
from test_restart import interrupted, write_run_file

import langevin
from langevin.commands.cli import main
from langevin.config import run_files
from langevin.errors import ConfigError
from langevin.running.tensorboard import PATTERN, steps

HOOK = """
import json

def lines(run):
    file = open(run.folder.with_suffix(".lines"), "a")
    file.write(json.dumps([run.title, run.goes_on, run.settings["system"]["name"]]) + "\\n")
    def log(step, scalars):
        file.write(json.dumps([step, scalars]) + "\\n")
        file.flush()
    log.close = file.close
    return log

def failing(run):
    def log(step, scalars):
        raise OSError("nobody listens")
    return log

none = 3
"""


def told(folder: Path) -> dict[int, dict[str, float]]:
    """Return step → scalars of an event folder; a step that stands there twice is a failure."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[int, dict[str, float]] = {}
    for file in sorted(folder.glob(PATTERN)):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.summary.value:
                assert event.step not in found
                found[event.step] = {v.tag: v.simple_value for v in event.summary.value}
    return found


def test_event_files_hold_what_is_measured(small: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "net.nc"
    how = {"output__path": str(path), "output__track": "tensorboard", "output__checkpoint_interval": 0.0}
    how["dynamics__backend"] = "torch"
    ds = langevin.run(small("mlp", ensemble__replicas=2, **how))
    found = told(tmp_path / "net.events")
    assert [float(step) for step in found] == ds["time"].to_numpy().tolist()
    for name in ("energy", "test_loss", "train_accuracy", "test_accuracy", "gradient_norm"):
        # Event files hold single precision.
        said = [scalars[name] for scalars in found.values()]
        np.testing.assert_allclose(said, ds[name].mean("replica"), rtol=1e-6)
        spread = [scalars[f"{name}_std"] for scalars in found.values()]
        np.testing.assert_allclose(spread, ds[name].std("replica", ddof=1), rtol=1e-5, atol=1e-7)
    rate = json.loads(ds.attrs["settings"])["dynamics"].get("learning_rate", 0.01)
    assert {scalars["learning_rate"] for scalars in found.values()} == {np.float32(rate)}
    # Nothing of it is in the result.
    other = langevin.run(small("mlp", ensemble__replicas=2, dynamics__backend="torch"))
    assert ds.drop_attrs().equals(other.drop_attrs())
    # A run that begins anew has a folder of its own.
    langevin.run(small("mlp", ensemble__replicas=1, ensemble__samples=1, **how), force=True)
    assert "energy_std" not in told(tmp_path / "net.events")[0]
    assert len(list((tmp_path / "net.events").iterdir())) == 1


def test_the_rate_of_a_schedule_is_told(small: Callable[..., Any], tmp_path: Path) -> None:
    how = {"output__path": str(tmp_path / "net.nc"), "output__track": "tensorboard"}
    ds = langevin.run(small("mlp", dynamics__schedule="cosine", dynamics__cycles=1, **how))
    said = [scalars["learning_rate"] for scalars in told(tmp_path / "net.events").values()]
    np.testing.assert_allclose(said, ds["learning_rate"], rtol=1e-6)
    assert len(set(said)) > 2


def test_a_run_that_goes_on_says_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = {"path": "walk.nc", "figure": False, "track": "tensorboard"}
    given = {"title": "walk", **walking(), "output": output}
    interrupted(given, monkeypatch, 3)
    folder = tmp_path / "walk.events"
    before = told(folder)
    assert len(before) > 0
    # As a kill may leave it: the last record is cut.
    (file,) = folder.glob(PATTERN)
    file.write_bytes(file.read_bytes()[:-3])
    assert list(steps(file)) == list(before)[:-1]
    done = CliRunner().invoke(main, ["resume", "walk.nc", "--quiet"])
    assert (done.exit_code, done.output) == (0, "")
    file.write_bytes(cut_to_records(file.read_bytes()))
    found = told(folder)
    with langevin.open("walk.nc") as ds:
        times, energy = ds["time"].to_numpy(), ds["energy"].mean("replica").to_numpy()
    assert len(before) < len(times)
    assert [scalars["time"] for scalars in found.values()] == pytest.approx(times)
    assert [scalars["energy"] for scalars in found.values()] == pytest.approx(energy, rel=1e-6)


def cut_to_records(content: bytes) -> bytes:
    """Return the content of an event file without a last record that is not whole."""
    end = 0
    while end + 12 <= len(content):
        size = 16 + struct.unpack("<Q", content[end : end + 8])[0]
        if end + size > len(content):
            break
        end += size
    return content[:end]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tracker.py").write_text(HOOK)
    return tmp_path


def test_a_tracker_of_ones_own(hook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = {"path": "walk.nc", "figure": False, "track": "my_tracker:lines"}
    given = {"title": "walk", **walking(), "output": output}
    interrupted(given, monkeypatch, 3)
    done = CliRunner().invoke(main, ["resume", "walk.nc", "--quiet"])
    assert (done.exit_code, done.output) == (0, "")
    said = [json.loads(line) for line in (hook / "walk.lines").read_text().splitlines()]
    heads = [line for line in said if isinstance(line[0], str)]
    assert [head[:2] for head in heads] == [["walk", False], ["walk", True]]
    with langevin.open("walk.nc") as ds:
        assert [line[1]["time"] for line in said if line not in heads] == ds["time"].to_numpy().tolist()


def test_a_tracker_that_fails_stops_nothing(hook: Path) -> None:
    write_run_file(hook / "walk.toml", {"title": "walk", **walking(), "output": {"figure": False}})
    done = CliRunner().invoke(main, ["run", "walk.toml", "--quiet", "--track", "my_tracker:failing"])
    assert done.exit_code == 0
    assert done.stderr == (
        "langevin: warning: output.track = 'my_tracker:failing': given up, the run goes on: nobody listens\n"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "wandb",
            'output.track = "wandb": no such tracker; allowed: "tensorboard", or your own "package.mod',
        ),
        (
            "my_tracker:none",
            r'output.track = "my_tracker:none": .*my_tracker.py has no such function; allowed',
        ),
        ("my_tracker:nothing", r'output.track = "my_tracker:nothing": .*has no such function'),
        ("no_such:tracker", "output.track = 'no_such:tracker': cannot import 'no_such'"),
    ],
)
def test_what_is_no_tracker_is_said(hook: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_files.load(walking() | {"output": {"track": name}})


def test_a_missing_package_is_one_line(hook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run_file(hook / "walk.toml", {"title": "walk", **walking()})
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "board" in name else found(name))
    done = CliRunner().invoke(main, ["run", "walk.toml", "--track", "tensorboard"])
    assert done.exit_code == 2
    assert done.output == (
        'langevin: walk.toml: output.track = "tensorboard": needs tensorboardX, which is not installed: '
        'pip install "langevin-engine[track]"\n'
    )
    assert not (hook / "walk.nc").exists()


def test_members_of_a_sweep_have_folders_that_stay(tmp_path: Path) -> None:
    given = {
        "system": {"name": "harmonic", "n": 4},
        "dynamics": {"dt": 0.1, "t_max": 1.0},
        "sweep": {"dynamics.temperature": [0.5, 1.0]},
        "output": {"path": str(tmp_path / "two.nc"), "track": "tensorboard"},
    }
    ds = langevin.run(given, executor="in_process")
    for number, temperature in enumerate([0.5, 1.0]):
        found = told(tmp_path / "two.events" / f"member-{number:04d}")
        energy = ds["energy"].sel(temperature=temperature).mean("replica")
        # Steps of dt = 0.1.
        assert list(found) == np.rint(ds["time"].to_numpy() / 0.1).tolist()
        assert [s["energy"] for s in found.values()] == pytest.approx(energy.to_numpy(), rel=1e-6)
