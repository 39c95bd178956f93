"""Observables with further dimensions, and a model's own two-time observables, reach the file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from cages import Cages, caged
from test_restart import assert_same, interrupted

import langevin
from langevin.config import build, run_files
from langevin.core.capabilities import HasFurtherDimensions, MeasuresAtWaiting
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.schedule import Grid, Schedule
from langevin.errors import LangevinError, UserError
from langevin.observables import particles, two_time
from langevin.record.recorder import Recorder
from langevin.results import export
from langevin.sweep import simulation
from langevin.sweep.executors import EXECUTORS

SHAPES = {
    "cage": ("replica", "time", "species"),
    "pair_correlation": ("replica", "waiting_time", "pair", "distance"),
    "self_scattering": ("replica", "waiting_time", "lag", "species", "wavenumber"),
}


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    return langevin.run(caged(response=True, pair_bins=5))


def test_they_are_in_the_file_with_their_coordinates(found: xr.Dataset) -> None:
    for name, dims in SHAPES.items():
        assert found[name].dims == dims
        assert found[name].dtype == np.float64
        assert {"long_name", "units"} <= set(found[name].attrs)
    assert found["species"].values.tolist() == ["all", "A", "B"]
    assert found["pair"].values.tolist() == ["AA", "AB", "BB"]
    assert found["wavenumber"].values.tolist() == [7.25, 2.0]
    assert found.sizes["distance"] == 5
    # What belongs together does: the first group is all particles, the first wavenumber that of correlation.
    both = found["self_scattering"].sel(species="B", wavenumber=7.25)
    np.testing.assert_array_equal(both, found["correlation_B"])
    shares = 0.8 * found["cage"].sel(species="A") + 0.2 * found["cage"].sel(species="B")
    np.testing.assert_allclose(found["cage"].sel(species="all"), shares, rtol=1e-13)
    beyond = found["waiting_time"] + found["lag"] > 0.5 + 1e-9
    assert bool(beyond.any())
    assert bool((found["self_scattering"].isnull() == beyond).all())


def test_a_model_compares_in_its_own_way_and_the_response_is_added(found: xr.Dataset) -> None:
    at = tuple(found["configuration"].sel(configuration_time=t).values for t in (0.1, 0.15))
    expected = particles.compare(particles.BoxedMixture.of(found["configuration"]), *at)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name].values[:, 1, 1], value)
    assert found["integrated_response"].notnull().any()
    # Three times as large as per degree of freedom, but for the centre of mass.
    plain = np.mean((at[1] - at[0]) ** 2, axis=1)
    assert (expected["msd"] < 3 * plain).all() and (expected["msd"] > 2.5 * plain).all()


@pytest.mark.parametrize("quantity", ["msd", "correlation"])
def test_the_stored_trajectory_gives_the_same_bits(found: xr.Dataset, quantity: str) -> None:
    pairs = found["configuration"], found["waiting_time"], found["lag"]
    np.testing.assert_array_equal(getattr(two_time, quantity)(*pairs), found[quantity])
    again = particles.two_time(*pairs, "self_scattering")
    xr.testing.assert_equal(again, found["self_scattering"].drop_vars("sample"))


def test_attributes_of_the_configuration_are_extended(found: xr.Dataset) -> None:
    about = found["configuration"].attrs
    assert about["units"] == "sigma_AA"
    mixture = particles.BoxedMixture.of(found["configuration"])
    assert (mixture.names, mixture.counts, mixture.wavenumbers) == (("A", "B"), (40, 10), (7.25, 2.0))


@pytest.mark.parametrize("tick", [2, 6])
def test_they_survive_a_checkpoint(tick: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = caged(response=True)
    given["output"] = {"path": str(tmp_path / "whole.nc")}
    simulation.execute(run_files.load(given))
    given["output"] = {"path": str(tmp_path / "stopped.nc")}
    paths = interrupted(given, monkeypatch, tick)
    with xr.open_dataset(paths.checkpoint) as part:
        assert part["species"].values.tolist() == ["all", "A", "B"]
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)


def test_a_sweep_carries_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", EXECUTORS["in_process"])
    given: dict[str, Any] = caged() | {
        "sweep": {"system.species": [1, 2], "system.wavenumbers": [[3.0, 1.0], [2.0]]}
    }
    given["output"] = {"path": "swept.nc", "figure": False}
    swept = langevin.run(given)
    for labels, member in langevin.members(swept):
        one = caged()
        one["system"] |= {
            "species": labels["system_species"],
            "wavenumbers": [float(k) for k in str(labels["wavenumbers"]).split(",")],
        }
        # The coordinates of a sweep ascend.
        alone = langevin.run(one)
        alone = alone.sortby("wavenumber") if "wavenumber" in alone.dims else alone
        assert set(member.data_vars) == set(alone.data_vars)
        for name in alone.variables:
            np.testing.assert_array_equal(member[name].values, alone[name].values, str(name))
            assert member[name].dims == alone[name].dims
        assert member["configuration"].attrs.keys() == alone["configuration"].attrs.keys()
        pairs = member["configuration"], member["waiting_time"], member["lag"]
        np.testing.assert_array_equal(two_time.correlation(*pairs), alone["correlation"])
    with pytest.raises(
        UserError, match=r"a sweep over system_species, wavenumbers; allowed: .*at= selects a member"
    ):
        export.save(swept, tmp_path / "a.gsd")
    assert export.save(member, tmp_path / "a.gsd", every=40) == 1


G = ("pair", "distance")


@pytest.fixture
def recorder() -> Recorder:
    schedule = Schedule.build(Grid(values=(0.0, 1.0)), Grid(values=(0.0,)), Grid(values=(1.0,)), 2.0, 1.0)
    return Recorder(schedule, Ensemble.regular(2, 2, 1), {"g": G})


def test_shapes_stay_strict(recorder: Recorder) -> None:
    store = partial(recorder.store, ("waiting_time",), (0,))
    store({"g": (G, np.ones((2, 3, 5)))})
    for wrong in ((2, 3, 4), (2, 3), (2,), (3, 3, 5), (2, 5, 3)):
        with pytest.raises(LangevinError, match=r"'g' has shape .*each of pair, distance, \(2, 3, 5\)"):
            store({"g": (G, np.ones(wrong))})
    with pytest.raises(LangevinError, match=r"'e' has shape \(2, 3\); needed: one value per replica, \(2,\)"):
        recorder.store(("time",), (0,), {"e": ((), np.ones((2, 3)))})
    with pytest.raises(LangevinError, match=r"'pair' has shape \(2,\) along 'pair'; needed: .*pair \(3\)"):
        recorder.dataset({}, {"pair": ("pair", np.array(["AA", "BB"]), {})})
    made = recorder.dataset({}, {"pair": ("pair", np.array(["AA", "AB", "BB"]), {})})
    assert made["g"].sel(pair="AB").shape == (2, 1, 5)


def test_coordinates_fix_the_sizes_first(recorder: Recorder) -> None:
    recorder.dataset({}, {"distance": ("distance", np.arange(4.0), {})})
    with pytest.raises(LangevinError, match=r"'g' has shape \(2, 3, 5\)"):
        recorder.store(("waiting_time",), (0,), {"g": (G, np.ones((2, 3, 5)))})


@pytest.mark.parametrize("dim", ["lag", "mode", "two words"])
def test_names_of_the_schema_are_no_further_dimensions(recorder: Recorder, dim: str) -> None:
    with pytest.raises(LangevinError, match=f"dimension {dim!r} of 'g': the name is taken"):
        Recorder(recorder.schedule, recorder.ensemble, {"g": (dim,)})


def test_a_model_without_any_has_none() -> None:
    system = build.build(
        run_files.load({**caged(), "system": {"name": "harmonic", "n": 3}}), Ensemble.regular(1, 1, 1)
    )
    assert isinstance(system, Langevin) and not isinstance(system.model, Cages)
    assert not isinstance(system, HasFurtherDimensions | MeasuresAtWaiting)
