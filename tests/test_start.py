"""[start]: a run begins from what another one has stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from small_nets import built, settings
from test_restart import assert_same, interrupted
from test_sweep import assert_members_are_single_runs, harmonic, here

import langevin
from langevin.config import build, checks, registry, run_files, templates, validate
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, UserError
from langevin.results import summary
from langevin.running import start as beginning
from langevin.sweep import member, simulation
from langevin.systems.harmonic import Harmonic
from langevin.systems.pspin import PSpin

Maker = Callable[..., dict[str, Any]]

#: A fixture of the tests of sweeps, used here, too.
__all__ = ["here"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result of oscillators that stored their configuration after every step."""
    path = tmp_path_factory.mktemp("first") / "first.nc"
    simulation.execute(run_files.load(harmonic(output={"path": str(path)}, **EVERY_STEP)))
    return path


EVERY_STEP: dict[str, Any] = {
    "record": {"times": [round(0.1 * k, 1) for k in range(41)], "configurations": "always"},
    "ensemble": {"seed": 5},
}


def continued(path: Path, start: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    given = harmonic(**{**EVERY_STEP, **sections})
    given["start"] = {"file": str(path), **(start or {})}
    return given


@pytest.mark.parametrize(("start", "time"), [({}, 4.0), ({"time": 1.3}, 1.3), ({"time": 0}, 0.0)])
def test_a_run_begins_where_another_was(first: Path, start: dict[str, Any], time: float) -> None:
    with simulation.open(first) as before:
        found = langevin.run(continued(first, start))
        there = before.sel(time=time, configuration_time=time)
        np.testing.assert_array_equal(found["configuration"][0], there["configuration"])
        np.testing.assert_array_equal(found["energy"][:, 0], there["energy"])
    assert found["time"][0] == 0
    assert (found.attrs["start_file"], found.attrs["start_time"]) == ("first.nc", time)
    assert "start_file         first.nc\nstart_time" in summary.contents(found)


def kicks(dataset: xr.Dataset) -> Any:
    """Return the normals of every step of oscillators with k = T = 1, dt = 0.1: a plain column."""
    x = dataset["configuration"].to_numpy()
    return ((x[1:] - 0.9 * x[:-1]) / np.sqrt(0.2)).ravel()


def test_no_noise_acts_twice(first: Path, tmp_path: Path) -> None:
    """Every run of a chain has noise of its own, though the seed is one.

    40 steps of 60 oscillators: the correlation of independent normals is 0 ± 1/√2400, beyond five times that
    once in 600,000 runs, for each of three pairs.
    """
    second = tmp_path / "second.nc"
    simulation.execute(run_files.load(continued(first, output={"path": str(second)})))
    third = langevin.run(continued(second))
    assert third.attrs[beginning.GENERATION] == 2
    with simulation.open(first) as a, simulation.open(second) as b:
        drawn = np.array([kicks(a), kicks(b), kicks(third)])
    assert drawn.shape == (3, 2400)
    together = np.corrcoef(drawn)[np.triu_indices(3, 1)]
    assert np.abs(together).max() < 5 / np.sqrt(2400)


def test_generations_key_what_drives_networks() -> None:
    """Batches and noise of a step follow from labels; of the quenched disorder nothing changes."""
    young, old = (Ensemble.regular(2, 1, 3, generation=g) for g in (0, 1))
    assert young.driving("batch", 1, 4).random() == young.quenched("batch", 1, 4).random()
    assert young.driving("batch", 1, 4).random() != old.driving("batch", 1, 4).random()
    assert young.quenched("disorder", 0).random() == old.quenched("disorder", 0).random()
    assert old.subset(np.array([1])).generation == 1


@pytest.mark.parametrize("scheme", ["euler_maruyama", "leimkuhler_matthews"])
def test_resuming_needs_no_file(
    scheme: str, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "first.nc"
    path.write_bytes(first.read_bytes())
    given = continued(path, dynamics={"scheme": scheme}, output={"path": str(tmp_path / "whole.nc")})
    given["record"] = {**given["record"], "response": True}
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    paths = interrupted(given, monkeypatch, 0, after=2.0)
    path.unlink()
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    with simulation.open(paths.result) as found:
        assert (found.attrs["start_file"], found.attrs[beginning.GENERATION]) == ("first.nc", 1)
        # Nothing was summed before the start.
        assert (found["integrated_response"][:, 0, 0] != 0).all()


@pytest.mark.parametrize("initial_temperature", [np.inf, 0.7])
def test_spins_go_on_in_their_disorder(
    initial_temperature: float, small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The energy at the start is the one at the end before. A path leads from the working directory."""
    monkeypatch.chdir(tmp_path)
    given = small("pspin", system__couplings="float64", output__path="spins.nc")
    given["dynamics"] |= {"temperature": 0.3, "initial_temperature": initial_temperature}
    given["record"] |= {"snapshots": [0.4], "configurations": "never"}
    first = langevin.run(given)
    given["start"], given["output"]["path"] = {"file": "spins.nc"}, ""
    found = langevin.run(given)
    # Two sums of the same numbers, in the kernel's order and in the plain one: 1e-12 is rounding.
    np.testing.assert_allclose(found["energy"][:, 0], first["energy"].sel(time=0.4), rtol=1e-12)
    given["dynamics"]["initial_temperature"] = 0.9
    with pytest.raises(
        UserError, match=r"its dynamics.initial_temperature is .*, here 0.9: must be the same"
    ):
        langevin.run(given)


def test_a_fresh_start_has_no_past(small: Maker) -> None:
    """Sums of noise, the ceiling of energies and what kernels carry are those of the new configuration."""
    given = run_files.load(small("harmonic", record__response=True))
    ensemble = Ensemble.regular(4, 2, 7)
    system = build.build(given, ensemble)
    assert isinstance(system, Langevin)
    noise = Noise(7, ensemble.replica)
    start = system.initial_state(noise)
    later = system.advance(start, 0.0, 1.0, noise)
    begun = system.begun_from(start, 100 * later.x)
    np.testing.assert_array_equal(begun.x, 100 * later.x)
    assert begun.accumulated is not None
    assert not begun.accumulated.any()
    # An energy of 10⁴ times the scale is where this run begins, not where it diverges.
    assert (begun.ceiling > system.measure(begun)["energy"]).all()
    system.advance(begun, 0.0, 0.1, noise)


def test_a_configuration_off_the_sphere_is_refused(small: Maker) -> None:
    given = run_files.load(small("pspin"))
    ensemble = Ensemble.regular(4, 2, 7)
    system = build.build(given, ensemble)
    assert isinstance(system, Langevin)
    assert isinstance(system.model, PSpin)
    start = system.initial_state(Noise(7, ensemble.replica))
    np.testing.assert_array_equal(system.begun_from(start, start.x).x, start.x)
    x = start.x.copy()
    x[2] *= 1 + 1e-9
    with pytest.raises(UserError, match=r"position 2 breaks the constraint"):
        system.begun_from(start, x)


def note(means: list[torch.Tensor], _: object, inputs: tuple[torch.Tensor]) -> None:
    means.append(inputs[0].detach().mean(0))


def test_networks_begin_from_weights_at_rest() -> None:
    """Running statistics are means over the batches that the training examples make, at these weights."""
    made = settings(
        {"name": "network", "module": "small_nets:Normalised"},
        replicas=2,
        momentum=0.9,
        precision="double",
        backend="torch",
    )
    system, noise = built(made)
    start = system.initial_state(noise)
    later = system.advance(start, 0, 5, noise)
    x = later.weights.numpy().astype(np.float64)
    begun = system.begun_from(start, x)
    np.testing.assert_array_equal(system.configuration(begun), x)
    x[:] = 0  # a copy, not a view
    np.testing.assert_array_equal(begun.weights, later.weights)
    assert begun.slots.keys() == {"velocity"}
    assert not begun.slots["velocity"].any()
    for k in range(2):
        module = system.built(k)
        norm = next(m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm))
        with torch.no_grad():
            for parameter, view in zip(
                module.parameters(), system.layout.views(later.weights[k]), strict=True
            ):
                parameter.copy_(view)
        means: list[torch.Tensor] = []
        norm.register_forward_pre_hook(partial(note, means))
        for piece in torch.split(system.chosen.trained[k].index, 8):
            module(system.train.gather(piece)[0])
        mean = torch.stack(means).mean(0)
        # Double precision, sums of some hundred terms.
        torch.testing.assert_close(begun.buffers[0][k], mean, rtol=1e-12, atol=1e-12)
        assert (begun.buffers[0][k] != start.buffers[0][k]).all()


def test_networks_may_have_another_seed(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.nc"
    given = small("mlp", output__path=str(path), record__snapshots=[10], dynamics__backend="torch")
    given["record"]["configurations"] = "never"
    first = langevin.run(given)
    given["record"]["snapshots"] = [0]
    given["output"]["path"], given["ensemble"]["seed"] = "", 8
    given["start"] = {"file": str(path)}
    found = langevin.run(given)
    np.testing.assert_array_equal(found["snapshot"][0], first["snapshot"][0])
    # Batches that are not part of a checkpoint belong to the generation, too.
    given["output"]["path"] = str(tmp_path / "whole.nc")
    simulation.execute(run_files.load(given))
    given["output"]["path"] = str(tmp_path / "stopped.nc")
    paths = interrupted(given, monkeypatch, 0, after=4)
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


@pytest.mark.parametrize("name", ["curve", "network_curve"])
def test_curves_go_on(name: str, small: Maker, tmp_path: Path) -> None:
    """Bends are degrees of freedom like others."""
    given = small(name, output__path=str(tmp_path / "curve.nc"))
    last = given["dynamics"]["t_max"]
    given["record"] |= {"snapshots": [last], "configurations": "never", "positions": 3}
    first = langevin.run(given)
    given["start"], given["output"]["path"] = {"file": str(tmp_path / "curve.nc")}, ""
    given["record"]["snapshots"] = [0.0]
    found = langevin.run(given)
    np.testing.assert_array_equal(found["snapshot"][0], first["snapshot"][0])
    np.testing.assert_array_equal(found["energy"][:, 0], first["energy"].sel(time=last))


def test_members_begin_where_they_are_told(first: Path, here: None) -> None:
    given = continued(first, sweep={"start.time": [0.5, 4.0]})
    dataset = langevin.run(given)
    assert_members_are_single_runs(given, dataset)
    with simulation.open(first) as before:
        there = before["energy"].sel(time=[0.5, 4.0]).to_numpy()
    np.testing.assert_array_equal(dataset["energy"].isel(time=0).to_numpy().T, there)
    with pytest.raises(UserError, match="no such file"):
        langevin.run(continued(first.with_name("none.nc"), sweep={"start.time": [0.5, 4.0]}))


def test_members_find_their_files_from_anywhere(tmp_path: Path) -> None:
    """A sweep resumed in another folder has members left that have not begun."""
    settings = run_files.load(continued(Path("first.nc")))
    job = member.job(settings, tmp_path / "member-0000.nc", 1e9, Path("/there"))
    assert job["settings"]["start"] == {"file": "/there/first.nc"}
    job = member.job(run_files.load(continued(tmp_path / "a.nc")), tmp_path / "b.nc", 1e9, Path("/there"))
    assert job["settings"]["start"] == {"file": str(tmp_path / "a.nc")}
    assert "start" not in member.job(run_files.load(harmonic()), tmp_path / "b.nc", 1e9, Path())["settings"]


@pytest.mark.parametrize(
    ("start", "sections", "words"),
    [
        ({"time": 0.55}, {}, "time = 0.55: no configuration is stored there"),
        ({}, {"system": {"n": 21}}, "its system.n is 20, here 21: must be the same"),
        ({}, {"system": {"stiffness": 2.0}}, "its system.stiffness is 1.0, here 2.0"),
        ({}, {"ensemble": {"replicas": 4}}, "ensemble.replicas = 4: must be ≤ 3"),
        (
            {},
            {"ensemble": {"seed": 5, "samples": 2}},
            "its replica 1 lives in sample 0, with ensemble.samples = 2 in sample 1",
        ),
        ({}, {"system": {"name": "test_sweep:Farthest"}}, "its system is harmonic; allowed: results of test"),
    ],
)
def test_another_system_is_one_line(
    start: dict[str, Any], sections: dict[str, Any], words: str, first: Path, tmp_path: Path
) -> None:
    given = continued(first, start, output={"path": str(tmp_path / "b.nc")}, **sections)
    with pytest.raises(UserError) as caught:
        langevin.run(given)
    said = str(caught.value)
    assert words in said, said
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


class Disordered(Harmonic):
    """An oscillator that may have disorder: it does not say that it has none."""


def test_another_seed_where_nothing_follows_from_it(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise is another one, the configuration the same; no disorder is lost by inheritance."""
    again, same = langevin.run(continued(first, ensemble={"seed": 6})), langevin.run(continued(first))
    with langevin.open(first) as before:
        assert np.array_equal(again["configuration"][0], before["configuration"][-1])
    assert not np.array_equal(again["energy"][:, -1], same["energy"][:, -1])
    monkeypatch.setitem(registry.SYSTEMS, "harmonic", "test_start:Disordered")
    with pytest.raises(UserError, match=r"its seed is 5, ensemble\.seed = 6: must be the same, for the"):
        langevin.run(continued(first, ensemble={"seed": 6}))


def test_systems_without_disorder_say_so() -> None:
    free = {n for n in registry.names() if not vars(registry.load(n)).get("quenched_disorder", True)}
    assert free == {"harmonic", "kob_andersen", "particles", "curve", "network_curve"}


def test_files_that_hold_none_are_one_line(first: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.nc"
    simulation.execute(
        run_files.load(harmonic(output={"path": str(bare)}, record={"configurations": "never"}))
    )
    with pytest.raises(UserError, match=r"bare.nc: no stored configuration; record.snapshots = "):
        langevin.run(continued(bare))
    (tmp_path / "text.nc").write_text("no result")
    with pytest.raises(UserError, match="not a netCDF file"):
        langevin.run(continued(tmp_path / "text.nc"))
    for name, change in {"settings": "none", "else": None}.items():
        copy = tmp_path / f"{name}.nc"
        copy.write_bytes(first.read_bytes())
        with netCDF4.Dataset(copy, "a") as file:
            told = json.loads(file.settings)
            told["system"]["m"] = 3
            file.settings = json.dumps(told) if change is None else change
        wanted = "does not say" if change else r"its \[system\] is none of harmonic as it is now"
        with pytest.raises(UserError, match=wanted):
            langevin.run(continued(copy))


def test_faults_of_the_section(small: Maker) -> None:
    given = {**small("cugliandolo_kurchan"), "start": {"file": "a.nc"}}
    with pytest.raises(ConfigError, match="start: cugliandolo_kurchan cannot begin from a stored"):
        run_files.load(given)
    for table, words in {
        "{}": "start.file: missing",
        '{"file": "a.nc", "when": 1}': "start.when: unknown key; nearest: start",
        '{"file": "a.nc", "time": -1.0}': "start.time = -1.0: allowed: number ≥ 0",
        '{"file": ""}': 'start.file = "": allowed: string',
        "3": "start = 3: must be a table",
    }.items():
        with pytest.raises(ConfigError) as caught:
            run_files.load({**small("harmonic"), "start": json.loads(table)})
        assert len(caught.value.faults) == 1
        assert words in caught.value.faults[0]


def test_who_can_begin() -> None:
    """All that has a configuration, and `langevin systems NAME` says so; no template asks for a file."""
    for name in registry.names():
        system_class = registry.load(name)
        able = getattr(system_class, "dof", None) != 0
        assert checks.can_begin(system_class) == able
        assert ("start" in dict(validate.tables(system_class))) == able
        assert "[start]" not in templates.template(name)
