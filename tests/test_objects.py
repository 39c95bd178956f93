"""Classes and functions are given as they are: found again, recorded, and told apart when they change."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import langevin
from langevin import Model, Section, key
from langevin.code import held, in_memory, trust
from langevin.code.user_code import Origin
from langevin.config import objects, run_files
from langevin.errors import UnknownCode, UserError
from langevin.systems.harmonic import Harmonic

DYNAMICS = {"temperature": 0.1, "dt": 0.02, "t_max": 1.0}


class DoubleWell(Model):
    """Particles in a double well."""

    class Parameters(Section):
        n: int = key("number of particles", example=100, ge=1)

    strength = 1.0
    #: Time at which Ctrl-C comes, once.
    stops: float | None = None

    def __init__(self, parameters: Any, dynamics: Any, ensemble: Any) -> None:
        self.n, self.ensemble = parameters.n, ensemble

    def initial_configuration(self, noise: Any) -> Any:
        return np.array([self.ensemble.quenched("start", k).standard_normal(self.n) for k in [0]])

    def force(self, x: Any, t: float, noise: Any) -> Any:
        if type(self).stops is not None and t >= type(self).stops:
            type(self).stops = None
            os.kill(os.getpid(), signal.SIGINT)
        return self.strength * (x - x**3)

    def energy(self, x: Any) -> Any:
        return np.mean(x**4 / 4 - x**2 / 2, axis=1)


def local(strength_now: float = 1.0) -> type[DoubleWell]:
    """Return a class as a notebook has one: in the memory of this process alone."""

    class Local(DoubleWell):
        """A class of a function."""

        strength = strength_now

        def energy(self, x: Any) -> Any:
            return super().energy(x)

    return Local


def other() -> type[DoubleWell]:
    """Return another class that is called like that of `local`."""

    class Local(DoubleWell):
        """Another class."""

        def energy(self, x: Any) -> Any:
            return 2 * super().energy(x)

    Local.__qualname__ = local().__qualname__
    return Local


def given(kind: Any, **further: Any) -> dict[str, Any]:
    return {"system": {"name": kind, "n": 3}, "dynamics": DYNAMICS, **further}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_held", {})
    monkeypatch.setattr(DoubleWell, "stops", None)


def test_a_class_of_a_module_is_what_its_name_is() -> None:
    name = f"{__name__}:DoubleWell"
    by_class, by_name = langevin.run(given(DoubleWell)), langevin.run(given(name))
    assert json.loads(by_class.attrs["settings"])["system"]["name"] == name
    assert by_class["energy"].equals(by_name["energy"])
    assert by_class.attrs["code"] == by_name.attrs["code"]


def test_a_class_that_stands_in_no_file_is_recorded_by_its_definition() -> None:
    ds = langevin.run(given(local()))
    name = json.loads(ds.attrs["settings"])["system"]["name"]
    assert name == f"{__name__}:local.<locals>.Local" and ds.attrs["title"] == "Local"
    recorded = json.loads(ds.attrs["code"])[name]
    assert len(recorded[__name__]) == 64
    same, another = in_memory.definition(local()), in_memory.definition(other())
    assert same is not None and another is not None
    assert recorded == {__name__: same.digest} and same.digest != another.digest
    assert b"A class of a function" in same.raw and b"Another" not in same.raw


def test_ctrl_c_is_a_keyboard_interrupt_and_the_run_goes_on(tmp_path: Path) -> None:
    path, kind = tmp_path / "a.nc", local()
    whole = langevin.run(given(kind))
    kind.stops = 0.5
    with pytest.raises(KeyboardInterrupt, match=r"stopped by Ctrl-C at t = 0\.5\d*; continue") as stopped:
        langevin.run(given(kind, output={"path": path}))
    assert f"`langevin.resume({str(path)!r})`" in str(stopped.value)
    with langevin.resume(path) as resumed:
        assert resumed["energy"].equals(whole["energy"]), "bit for bit"
        assert resumed.attrs["status"] == "complete"


def test_without_a_file_ctrl_c_says_that_nothing_is_left() -> None:
    kind = local()
    kind.stops = 0.5
    with pytest.raises(KeyboardInterrupt, match="nothing of it is kept") as stopped:
        langevin.run(given(kind))
    assert "resume" not in str(stopped.value)


def test_another_process_says_why_it_cannot_go_on() -> None:
    named = json.loads(langevin.run(given(local())).attrs["settings"])
    held._held.clear()
    with pytest.raises(UnknownCode, match=r"a\.nc: .* in no file; define it there again, then .*trust=True"):
        run_files.load(named, origin=Origin("a.nc"))


def test_a_definition_that_has_changed_is_not_gone_on_with() -> None:
    with langevin.run(given(local())) as ds:
        named, origin = json.loads(ds.attrs["settings"]), Origin.of("a.nc", ds.attrs["code"])
    assert run_files.load(named, origin=origin).title == "Local"
    held._held.clear()
    langevin.run(given(other()))
    with pytest.raises(UnknownCode, match=r"definition of .*Local has changed \(sha256 .* since; trust=True"):
        run_files.load(named, origin=origin)


def test_a_cell_that_is_run_again_is_the_same_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its definition says so, whatever process has it."""
    script = sys.modules["__main__"]
    kind = local()
    kind.__module__, kind.__qualname__ = "__main__", "Local"
    monkeypatch.setattr(script, "Local", kind, raising=False)
    with langevin.run(given(kind)) as ds:
        named, origin = json.loads(ds.attrs["settings"]), Origin.of("a.nc", ds.attrs["code"])
    assert named["system"]["name"] == "__main__:Local"
    held._held.clear()
    with pytest.raises(UnknownCode, match="no file that could be looked at; trust=True runs it"):
        run_files.load(named, origin=origin)
    with trust.trusting(True):
        assert run_files.load(named, origin=origin).system_class is kind


def test_an_object_is_not_taken_for_what_its_file_holds_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from langevin.systems.harmonic import Harmonic\n\nclass Later(Harmonic):\n    pass\n"
    (tmp_path / "later_model.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    later_model = importlib.import_module("later_model")
    # It is gone when the test is over.
    monkeypatch.setitem(sys.modules, "later_model", sys.modules.pop("later_model"))
    assert run_files.load(given(later_model.Later)).system_class is later_model.Later
    (tmp_path / "later_model.py").write_text(text + "    changed = True\n")
    with pytest.raises(UserError, match=r"may have changed .*importlib\.reload\(later_model\)"):
        run_files.load(given(later_model.Later))


def test_sweeps_of_such_classes_run_in_this_process() -> None:
    swept = given(local(), sweep={"dynamics.temperature": [0.1, 0.2]})
    with langevin.run(swept, executor="in_process") as ds:
        assert ds.sizes["temperature"] == 2 and ds["energy"].notnull().all()
    with pytest.raises(UserError, match=r"Local'.* a class in a module, or executor='in_process'"):
        langevin.run(swept)


# What names stand for.


class Net(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.last = nn.Linear(int(np.prod(shape)), classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x.flatten(1))


def made(shape: tuple[int, ...], classes: int) -> nn.Module:
    return Net(shape, classes)


NETWORK = {
    "data": {"name": "synthetic", "train": 40, "test": 20},
    "dynamics": {"learning_rate": 0.05, "batch_size": 20, "t_max": 2},
}


@pytest.mark.parametrize("factory", [Net, made, lambda shape, classes: Net(shape, classes)])
def test_a_module_of_torch_is_a_network(factory: Any) -> None:
    settings = run_files.load({"system": {"name": factory}, **NETWORK})
    assert settings.system_name == "network"
    assert settings.system.module == in_memory.name_of(factory)


def test_networks_of_classes_and_of_names_are_the_same() -> None:
    by_class = run_files.load({"system": {"name": Net}, **NETWORK})
    by_name = run_files.load({"system": {"name": "network", "module": f"{__name__}:Net"}, **NETWORK})
    assert by_class == by_name and by_class.given == by_name.given


def test_a_module_that_is_made_already_is_refused() -> None:
    with pytest.raises(UserError, match="a Net was given as such; allowed: its class, or a function"):
        run_files.load({"system": {"name": Net((4,), 2)}, **NETWORK})


def test_registered_classes_and_losses_of_torch_go_by_their_names() -> None:
    assert objects.name(Harmonic) == "harmonic"
    assert objects.name(nn.functional.mse_loss) == "mse_loss"
    settings = run_files.load({"system": {"name": Net, "loss": nn.functional.mse_loss}, **NETWORK})
    assert settings.system.loss == "mse_loss"


def test_two_objects_of_one_name_are_refused() -> None:
    table = {"name": lambda shape, classes: Net(shape, classes), "loss": lambda outputs, labels, reduction: 0}
    with pytest.raises(UserError, match="two objects of this name were given; allowed: a name of its own"):
        run_files.load({"system": table, **NETWORK})


def test_a_class_of_something_else_is_a_fault() -> None:
    with pytest.raises(UserError, match=r"class Ensemble must derive from langevin\.Model"):
        run_files.load(given(langevin.Ensemble))


def test_what_its_module_calls_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = DoubleWell
    monkeypatch.setattr(sys.modules[__name__], "DoubleWell", type("DoubleWell", (Harmonic,), {}))
    with pytest.raises(UserError, match="its module has another object of this name"):
        run_files.load(given(before))
