"""Sketches: the hash, the law of the estimate, a negative control, the file, and what is not computed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import walkers
import xarray as xr
from conftest import SIGMAS, z_score
from test_restart import assert_same, interrupted

import langevin
from langevin.config import run_files
from langevin.errors import ConfigError, LangevinError, StorageError, UserError
from langevin.observables import sketch as estimates
from langevin.record import configurations
from langevin.record.sketch import BLOCK, hashed, sketch
from langevin.sweep import simulation

Maker = Callable[..., dict[str, Any]]
Array = np.ndarray
DIMS = ("configuration_time", "replica", "sketch_component")


def walking(folder: Path, **record: Any) -> dict[str, Any]:
    return {
        "system": {"name": "walkers:Walkers"},
        "dynamics": {"t_max": 20.0},
        "ensemble": {"replicas": 3, "seed": 5},
        "record": {"waiting_times": [0.0, 4.0], "lags": [1.0, 3.0], "sketch": 32, **record},
        "output": {"path": str(folder / "walk.nc"), "figure": False},
    }


def test_the_hash_is_splitmix64() -> None:
    """By Python's own integers, which do not overflow; the first one is a published value."""
    key, k = 1234567, 1000
    component, sign = hashed(3000, k, key)
    mask, numbers = 2**64 - 1, []
    for i in range(3000):
        z = (key + (i + 1) * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(z ^ (z >> 31))
    assert numbers[0] == 6457827717110365317
    np.testing.assert_array_equal(component, [(z >> 32) * k >> 32 for z in numbers])
    np.testing.assert_array_equal(sign, [1 - 2 * (z & 1) for z in numbers])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("dof", "components"), [(1, 2), (BLOCK, 64), (3 * BLOCK + 17, 3), (2000, 65536)])
def test_the_kernel_equals_the_sum_written_out(dtype: Any, dof: int, components: int) -> None:
    key = 2**64 - 1
    x = np.random.default_rng(1).standard_normal((3, dof)).astype(dtype)
    component, sign = hashed(dof, components, key)
    for row, found in zip(x, sketch(x, components, key), strict=True):
        expected = np.zeros(components)
        np.add.at(expected, component, sign * row)
        np.testing.assert_array_equal(found, expected)
    assert sketch(x, components, key).dtype == np.float64


def test_a_sketch_is_linear() -> None:
    # Of integers: sums in float64 are exact, and so is the comparison.
    a, b = np.random.default_rng(2).integers(-1000, 1000, (2, 4, 5000)).astype(float)
    np.testing.assert_array_equal(sketch(a, 50, 9) - sketch(b, 50, 9), sketch(a - b, 50, 9))
    np.testing.assert_array_equal(sketch(3 * a.T.copy().T, 50, 9), 3 * sketch(a, 50, 9))


def unsigned(x: Array, components: int, key: int) -> Array:
    """The mistake of leaving out the signs."""
    component, _ = hashed(x.shape[1], components, key)
    return np.array([np.bincount(component, row, components) for row in x])


def squares(d: Array, components: int, keys: int, how: Callable[..., Array] = sketch) -> Array:
    """|s|² of the rows of d over many hashes, shape (keys, rows)."""
    return np.array([np.sum(how(d, components, key) ** 2, axis=1) for key in range(keys)])


#: Displacements of one sign, with components of very unequal size; the second correlates with the first.
D = np.array([[4.0, 3.0, *[1.0] * 20], [2.0, 1.0, *[2.0] * 20]])
NORMS, FOURTH = np.sum(D**2, axis=1), np.sum(D**4, axis=1)


@pytest.mark.parametrize("components", [2, 16])
def test_mean_variance_and_covariance_of_the_estimate(components: int) -> None:
    """10 z-tests at 5 σ: one false alarm in 2·10⁵ choices of the keys."""
    away = squares(D, components, 6000) - NORMS
    variances = 2 / components * (NORMS**2 - FOURTH)
    for row in range(2):
        assert abs(z_score(away[:, row], 0.0)) < SIGMAS
        assert abs(z_score(away[:, row] ** 2, variances[row])) < SIGMAS
    covariance = 2 / components * ((D[0] @ D[1]) ** 2 - np.sum(D[0] ** 2 * D[1] ** 2))
    assert abs(z_score(away[:, 0] * away[:, 1], covariance)) < SIGMAS


@pytest.mark.parametrize("components", [2, 16])
def test_without_the_signs_the_law_fails(components: int) -> None:
    away = squares(D, components, 6000, unsigned) - NORMS
    for row in range(2):
        assert abs(z_score(away[:, row], 0.0)) > 2 * SIGMAS


def test_the_fourth_moments_count() -> None:
    away = squares(D, 2, 6000) - NORMS
    assert abs(z_score(away[:, 0] ** 2, 2 / 2 * NORMS[0] ** 2)) > SIGMAS


@pytest.mark.parametrize("name", ["harmonic", "pspin"])
def test_runs_have_the_stated_error(name: str, small: Maker) -> None:
    """The msd of a run against that from sketches of its configurations, over 300 hashes.

    Mean zero, and the variance (2/k)(1 − ‖d‖₄⁴/‖d‖⁴) < 2/k. Together 8 z-tests at 5 σ: one false alarm in
    2·10⁵ choices of the keys.
    """
    run = langevin.run(small(name, system__n=64, record__lags=[0.1]))
    k, waiting = 32, [0.0, 0.4]
    exact = run["msd"].sel(waiting_time=waiting, lag=[0.1])
    x = run["configuration"]
    flat = x.to_numpy().reshape(-1, x.sizes["dof"])

    def estimate(key: int) -> Array:
        components = sketch(flat, k, key).reshape(x.sizes["configuration_time"], x.sizes["replica"], k)
        coordinates = {name: x[name] for name in ("configuration_time", "replica")}
        about = {"degrees_of_freedom": x.sizes["dof"]}
        stored = xr.DataArray(components, coordinates, DIMS, "sketch", about)
        return estimates.msd(stored, waiting, exact["lag"])[0, :, 0].to_numpy()

    relative = np.array([estimate(key) for key in range(300)]) / exact[0, :, 0].to_numpy() - 1
    for i, start in enumerate(waiting):
        at = [x.sel(configuration_time=t, method="nearest") for t in (start, start + 0.1)]
        squared = (at[0] - at[1])[0].to_numpy() ** 2
        variance = 2 / k * (1 - np.sum(squared**2) / np.sum(squared) ** 2)
        assert 0 < variance < 2 / k
        assert abs(z_score(relative[:, i], 0.0)) < SIGMAS
        assert abs(z_score(relative[:, i] ** 2, variance)) < SIGMAS


def test_the_file_holds_the_sketch_of_every_configuration(tmp_path: Path) -> None:
    langevin.run(walking(tmp_path, sketch=2048)).close()
    with xr.open_dataset(tmp_path / "walk.nc") as found:
        stored = found["sketch"]
        assert (stored.dims, stored.dtype) == (DIMS, np.float64)
        assert {"long_name", "units", "method"} <= set(stored.attrs)
        assert stored.attrs["relative_error"] == 1 / 32
        for s, x in zip(stored.to_numpy(), found["configuration"].to_numpy(), strict=True):
            np.testing.assert_array_equal(s, sketch(x, 2048, int(stored.attrs["hash_key"])))
        assert np.isfinite(stored).all()
        # 4 → 20 was not among the pairs; 7.5 was not stored.
        msd = estimates.msd(found, [4.0, 7.5], [1.0, 16.0])
        exact = (x[0] - found["configuration"].sel(configuration_time=4.0)[0].to_numpy()) ** 2
        assert msd.dims == ("replica", "waiting_time", "lag")
        # A single hash, with an error of at most √(2/2048) = 1/32.
        assert float(msd[0, 0, 1]) == pytest.approx(exact.mean(), rel=SIGMAS / 32)
        difference = stored.sel(configuration_time=20.0) - stored.sel(configuration_time=4.0)
        np.testing.assert_allclose(msd[:, 0, 1], np.sum(difference**2, axis=1) / 50, rtol=1e-14)
        assert msd.sel(waiting_time=7.5).isnull().all()
        assert msd.attrs["relative_error"] == 1 / 32


def test_the_seed_chooses_the_hash(tmp_path: Path) -> None:
    def key(seed: int, replicas: int) -> str:
        given = walking(tmp_path)
        given["ensemble"], given["output"] = {"seed": seed, "replicas": replicas}, {}
        return str(langevin.run(given)["sketch"].attrs["hash_key"])

    assert key(5, 3) == key(5, 1)
    assert key(5, 3) != key(6, 3)


@pytest.mark.parametrize("tick", [3, 6])
def test_a_stopped_run_resumes_to_the_same_bits(
    tick: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = walking(tmp_path, configurations="never")
    simulation.execute(run_files.load(given, {"output.path": str(tmp_path / "whole.nc")}))
    paths = interrupted(given, monkeypatch, tick)
    assert paths.raw("sketch").exists()
    assert not paths.raw("configuration").exists()
    simulation.resume(paths.result).close()
    assert_same(tmp_path / "whole.nc", paths.result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.nc", "whole.nc"]


def test_a_resumed_run_misses_sketches_that_were_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = interrupted(walking(tmp_path), monkeypatch, 6)
    paths.raw("sketch").unlink()
    with pytest.raises(StorageError, match=r"walk\.checkpoint\.sketches lacks sketches that were stored"):
        simulation.resume(paths.result)


@pytest.mark.parametrize(
    ("record", "calls"),
    [
        ({"sketch": 0, "configurations": "never"}, 0),
        ({"sketch": 0}, 0),
        ({"sketch": 4}, 1),
        ({"sketch": 4, "configurations": "always"}, 1),
    ],
)
def test_no_configuration_is_asked_for_in_vain(
    record: dict[str, Any], calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system states its size, and all configurations together are above the limit of "auto"."""
    asked: list[Array] = []

    def configuration(self: walkers.Walkers, state: Array) -> Array:
        asked.append(state)
        return state

    monkeypatch.setattr(configurations, "TRAJECTORY_LIMIT", 1000)
    monkeypatch.setattr(walkers.Walkers, "configuration", configuration)
    monkeypatch.setattr(walkers.Walkers, "dof", 50, raising=False)
    found = langevin.run(walking(tmp_path, **record))
    assert len(asked) == calls * found.sizes.get("configuration_time", 0)
    assert ("sketch" in found) == (record["sketch"] > 0)
    assert ("configuration" in found) == (record.get("configurations") == "always")


def test_single_precision_is_sketched_and_stored_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walkers.Walkers, "configuration", lambda self, state: state.astype(np.float32))
    with langevin.run(walking(tmp_path)) as found:
        x, s = found["configuration"].to_numpy()[-1], found["sketch"]
        assert (x.dtype, s.dtype) == (np.float64, np.float64)
        np.testing.assert_array_equal(x, x.astype(np.float32))
        np.testing.assert_array_equal(s[-1], sketch(x, 32, int(s.attrs["hash_key"])))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1, "must be 0 (no sketch), or from 2 to 65536"),
        (-3, "allowed: integer ≥ 0, ≤ 65536"),
        (65537, "allowed: integer ≥ 0, ≤ 65536"),
        (2.5, "allowed: integer"),
        (True, "allowed: integer"),
    ],
)
def test_sizes_that_no_sketch_can_have(value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run_files.load(walking(tmp_path, sketch=value))
    (line,) = caught.value.faults
    assert line.startswith("record.sketch = ")
    assert said in line


def test_without_a_configuration_there_is_nothing_to_sketch(
    small: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"sketch": 8, "configurations": "always"}
    given = small("cugliandolo_kurchan", record__sketch=8, record__configurations="always")
    with pytest.raises(ConfigError) as caught:
        run_files.load(given)
    assert [line.partition(":")[0] for line in caught.value.faults] == [
        "record.sketch = 8",
        'record.configurations = "always"',
    ]
    # A class that does not say so is asked, before an unfinished run is discarded.
    paths = interrupted(walking(tmp_path), monkeypatch)
    monkeypatch.setattr(walkers.Walkers, "configuration", lambda self, state: None)
    with pytest.raises(UserError, match=r"record\.sketch = 8: allowed: 0 \(the system has no configuration"):
        simulation.execute(run_files.load(walking(tmp_path, **record)), force=True)
    assert paths.checkpoint.exists()


def test_a_size_that_a_system_states_must_be_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = walking(tmp_path, configurations="always")
    given["output"] = {}
    monkeypatch.setattr(walkers.Walkers, "dof", 49, raising=False)
    with pytest.raises(LangevinError, match=r"configuration has shape \(3, 50\); needed: \(3, 49\)"):
        langevin.run(given)
    monkeypatch.setattr(walkers.Walkers, "configuration", lambda self, state: None)
    with pytest.raises(LangevinError, match="no configuration that could be measured"):
        langevin.run(given)


def test_what_is_no_sketch_is_refused(tmp_path: Path) -> None:
    with langevin.run(walking(tmp_path, sketch=0)) as found:
        with pytest.raises(ValueError, match=r"no variable 'sketch'.*record\.sketch = k"):
            estimates.msd(found, [0.0], [1.0])
        with pytest.raises(ValueError, match=r"'configuration' with dimensions .* is no sketch"):
            estimates.msd(found["configuration"], [0.0], [1.0])


def test_numba_is_loaded_only_for_a_sketch() -> None:
    program = """
import sys, langevin
given = {
    "system": {"name": "harmonic", "n": 5},
    "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 0.5},
    "record": {"lags": [0.1], "sketch": int(sys.argv[1])},
}
langevin.run(given)
print("numba" in sys.modules)
"""
    said = [
        subprocess.run([sys.executable, "-c", program, k], capture_output=True, text=True, check=True).stdout
        for k in ("0", "2")
    ]
    assert said == ["False\n", "True\n"]
