"""Systems, models and data sets derive from their bases and from what they can do; schemes are objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import walkers
from conftest import ROOT

import langevin
from langevin.analysis.ensemble import members
from langevin.config import registry, run_files
from langevin.config.sections import dynamics_keys
from langevin.core import capabilities
from langevin.core.capabilities import (
    CAPABILITIES,
    BeginsFromConfiguration,
    HasConstraint,
    HasGaussNewton,
    HasHessian,
    HasLandscape,
    MeasuresAtEnd,
    MeasuresResponse,
)
from langevin.core.dynamics import Langevin, as_system
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schemes import Scheme
from langevin.core.system import DataSet, Model, System
from langevin.errors import ConfigError, UserError
from langevin.systems.harmonic import Harmonic
from langevin.systems.particles import KobAndersen
from langevin.systems.pspin import PSpin


def test_every_registered_class_derives_from_its_base() -> None:
    for name in registry.names():
        assert issubclass(registry.load(name), System | Model), name
    for name in registry.names(registry.DATA):
        assert issubclass(registry.load(name, kind=registry.DATA), DataSet), name


CELLS = """
import langevin
from langevin.config.keys import Section

class Cell:
    class Parameters(Section):
        pass
    def initial_configuration(self, noise): ...

class Clock:
    def advance(self, state, t0, t1, noise): ...
    def measure(self, state): ...

class Half(langevin.Model):
    class Parameters(Section):
        pass
    def force(self, x, t, noise): ...
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "Cell",
            "class Cell must derive from langevin.Model (a force) or langevin.System (steps of its own); "
            "it lacks force, energy",
        ),
        (
            "Clock",
            "it lacks Parameters, initial_state, reference, compare, configuration",
        ),
        ("Half", "class Half lacks initial_configuration, energy (see ARCHITECTURE.md)"),
    ],
)
def test_a_class_that_is_no_system_is_told_what_it_lacks(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(CELLS)
    given = {"system": {"name": f"cells:{name}"}, "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 1.0}}
    with pytest.raises(ConfigError) as caught:
        run_files.load(given, folder=tmp_path)
    (line,) = caught.value.faults
    assert line.startswith(f"system.name = 'cells:{name}': ") and words in line


@pytest.mark.parametrize("base", [Harmonic, walkers.Bare])
def test_a_capability_is_declared_or_refused(base: type[Any]) -> None:
    with pytest.raises(TypeError, match=r"class Silent defines at_end, and must derive from .*MeasuresAtEnd"):
        type("Silent", (base,), {"at_end": lambda self, at: {}})
    declared = type("Loud", (base, MeasuresAtEnd), {"at_end": lambda self, at: {}})
    assert issubclass(as_system(declared), MeasuresAtEnd)
    assert not issubclass(as_system(base), MeasuresAtEnd)


def harmonic(kind: type[Any] = Harmonic, n: int = 6, replicas: int = 3) -> Any:
    keys = kind.Dynamics(temperature=1.0, dt=0.1, t_max=1.0)
    return kind(kind.Parameters(n=n), keys, Ensemble.regular(replicas, 1, 1))


SHARED = {c for c, of in CAPABILITIES.items() if {"system", "model"} <= set(of)}
#: Without those that only the settings ask, of the class that a run file names.
SHARED_WITH_THE_SYSTEM = {c for c in SHARED if "run file" not in CAPABILITIES[c]}


def test_langevin_dynamics_has_the_capabilities_of_its_model() -> None:
    class Tilted(Langevin):
        """A class of its own, to which capabilities come, too."""

    model = harmonic()
    system = Langevin(model, 1.0, 0.1)
    assert type(system) is as_system(Harmonic)
    assert isinstance(system, HasHessian) and not isinstance(system, HasConstraint | HasGaussNewton)
    assert issubclass(as_system(PSpin), HasConstraint)
    assert isinstance(Tilted(model, 1.0, 0.1), Tilted) and isinstance(Tilted(model, 1.0, 0.1), HasHessian)
    for capability in (BeginsFromConfiguration, HasLandscape, MeasuresResponse):
        assert issubclass(Langevin, capability)
    for name in registry.names():
        kind = registry.load(name)
        if issubclass(kind, Model):
            passed = {c for c in SHARED if issubclass(as_system(kind), c)}
            assert passed == {c for c in SHARED_WITH_THE_SYSTEM if issubclass(kind, c)}, name


def test_the_table_of_capabilities_is_complete() -> None:
    rows = [line.split("|") for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines()]
    table = {row[1].strip().strip("`"): row[2] for row in rows if len(row) == 5}
    for capability in CAPABILITIES:
        said = table.pop(capability.__name__)
        for name in capabilities.names(capability):
            assert f"`{name}" in said, (capability, name)
    assert not [name for name in table if hasattr(capabilities, name)]


#: A scheme that no kernel has seen: one object.
TOY = Scheme("toy", 1, 1, "three quarters of the new", lambda a, b, out: np.copyto(out, 0.25 * a + 0.75 * b))


@pytest.mark.parametrize("kind", [Harmonic, PSpin, KobAndersen])
def test_a_scheme_is_one_object_to_step_and_kernels(kind: type[Any]) -> None:
    """Kernels take the plain step's noise, and sum the same kicks; it is not that of other schemes."""
    replicas, steps, dt = 3, 4, 1e-4 if kind is KobAndersen else 0.02
    model = harmonic() if kind is Harmonic else of(kind, replicas, dt)
    ends = {}
    for scheme in (TOY, "euler_maruyama"):
        system, noise = Langevin(model, 0.8, dt, response=True, scheme=scheme), Noise(5, range(replicas))
        start = system.initial_state(noise)
        other = Noise(5, range(replicas))
        other.load_state(noise.state_dict())
        end = system.advance(start, 0.0, steps * dt, noise)
        x, sums = start.x, np.zeros((2, *start.x.shape))
        held = None if start.held is None else start.held.copy()
        for n in range(steps):
            x = system.step(x, n * dt, other, sums, held)
        scale = np.abs(x).max()
        np.testing.assert_allclose(end.x, x, rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(end.accumulated, sums, rtol=0, atol=1e-6 * np.abs(sums).max())
        if held is not None:
            np.testing.assert_array_equal(end.held, held)
        ends[str(scheme)] = end.x
    one, two = ends.values()
    assert np.abs(one - two).max() > 1e-3 * np.sqrt(2 * 0.8 * dt)


def of(kind: type[Any], replicas: int, dt: float) -> Any:
    """A small model with a kernel."""
    start = np.inf if kind is PSpin else 2.0
    keys = dynamics_keys(kind)(temperature=0.8, initial_temperature=start, dt=dt, t_max=1.0)
    sizes: dict[str, Any] = {"p": 3, "n": 24} if kind is PSpin else {"n": 200, "equilibration_time": 0.0}
    return kind(kind.Parameters(**sizes), keys, Ensemble.regular(replicas, replicas, 2, 1))


def test_a_scheme_mixes_the_normals_of_consecutive_steps() -> None:
    drawn, held = np.random.default_rng(1).standard_normal((2, 5, 3)), np.ones((2, 3))
    used, summed = TOY.noise(held, drawn)
    np.testing.assert_array_equal(summed, drawn)
    before = np.concatenate([held[:, None], drawn[:, :-1]], axis=1)
    np.testing.assert_array_equal(used, 0.25 * before + 0.75 * drawn)
    whole = TOY.noise(held, drawn).used
    parts = [TOY.noise(held, drawn[:, :2]).used, TOY.noise(drawn[:, 1], drawn[:, 2:]).used]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_only_classifiers_have_ensembles(tmp_path: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    langevin.run(small("cugliandolo_kurchan", output__path="ck.nc")).close()
    with pytest.raises(UserError, match="classifies nothing"):
        members.method(Path("ck.nc"), langevin.open("ck.nc"), "ck")
