"""Quenches lead to the minima that closed forms name, and leave no trace in the run they begin from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mixtures
import numpy as np
import pytest
import scipy.optimize
import small_nets
import xarray as xr
from landscapes import LandscapeAlone
from test_restart import assert_same, interrupted

import langevin
from langevin import plotting
from langevin.config import run_files
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, Interrupted, UserError
from langevin.machine import interruption
from langevin.observables.landscape import quench as quenches
from langevin.observables.landscape.quench import quench
from langevin.record.inherent import InherentStructures
from langevin.systems.particles.curvature import PairHessian
from langevin.systems.particles.kernels import Field

METHODS = ("lbfgs", "descent")
TWO = {"replicas": 2, "samples": 2, "seed": 1}


def small(system: dict[str, Any], dynamics: dict[str, Any], inherent: Any, **record: Any) -> dict[str, Any]:
    return {
        "system": system,
        "dynamics": dynamics,
        "ensemble": TWO,
        "record": {"inherent": inherent, "waiting_times": [], "lags": [], **record},
        "output": {"figure": False},
    }


def harmonic(**record: Any) -> dict[str, Any]:
    dynamics = {"temperature": 1.0, "dt": 0.02, "t_max": 1.0}
    return small({"name": "harmonic", "n": 12, "stiffness": 2.0}, dynamics, [0.0, 0.5, 1.0], **record)


def pspin(**record: Any) -> dict[str, Any]:
    dynamics = {"temperature": 0.3, "dt": 0.02, "t_max": 8.0}
    system = {"name": "pspin", "p": 3, "n": 40, "couplings": "float64"}
    return small(system, dynamics, [0.0, 8.0], **{"inherent_tolerance": 1e-7, **record})


# The minimiser.


def quadratic(matrix: np.ndarray) -> quenches.Slopes:
    return lambda x, at: (np.sum(x * (x @ matrix), axis=1) / 2, x @ matrix)


@pytest.mark.parametrize("method", METHODS)
def test_a_quadratic_form_on_the_sphere_ends_at_its_lowest_eigenvalue(method: Any) -> None:
    a = np.random.default_rng(1).standard_normal((20, 20))
    a = (a + a.T) / 2

    def constrain(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    x = constrain(np.random.default_rng(2).standard_normal((3, 20)))
    found = quench(quadratic(a), x, method, 1e-9, 20_000, constrain)
    values, vectors = np.linalg.eigh(a)
    # The energy is flat to second order in what is left of the gradient: 10⁻¹⁸ · 20 over the gap.
    np.testing.assert_allclose(2 * found.energy, values[0], rtol=1e-13)
    np.testing.assert_allclose(np.abs(found.x @ vectors[:, 0]), 1.0, rtol=1e-13)
    assert (found.gradient <= 1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(found.x, axis=1), 1.0, rtol=1e-14)


def rosenbrock(x: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(scipy.optimize.rosen(row), scipy.optimize.rosen_der(row)) for row in x]
    return np.array([e for e, _ in pairs]), np.array([g for _, g in pairs])


def test_a_bent_valley_costs_about_what_it_costs_others() -> None:
    """Of scipy's L-BFGS-B both the minimum and, within a factor of two, the number of gradients."""
    x = np.random.default_rng(3).standard_normal((4, 8))
    found = quench(rosenbrock, x, "lbfgs", 1e-8)
    for k, row in enumerate(x):
        other = scipy.optimize.minimize(
            scipy.optimize.rosen, row, jac=scipy.optimize.rosen_der, method="L-BFGS-B", tol=1e-14
        )
        # There are two minima; which one is reached is a matter of the first steps.
        assert found.energy[k] < 1e-14 or found.energy[k] == pytest.approx(other.fun, abs=4.0)
        assert found.evaluations[k] < 2 * other.nfev
    assert (found.gradient <= 1e-8).all()


@pytest.mark.parametrize("method", METHODS)
def test_replicas_do_not_depend_on_each_other(method: Any) -> None:
    """Bit for bit: alone, or with others that come to rest earlier or later."""

    def slopes(x: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.sum(x**4 / 4 - x**2 / 2, axis=1), x**3 - x

    x = np.random.default_rng(4).standard_normal((3, 4))
    together = quench(slopes, x, method, 1e-6)
    assert np.unique(together.evaluations).size == 3
    for k in range(3):
        alone = quench(slopes, x[k : k + 1], method, 1e-6)
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], all_[k])


def test_the_flow_crosses_jumps_of_the_gradient() -> None:
    """|x|-like terms, from either side: V = Σ x²/2 + max(x − 1, 0)·3, from x = 3 down to 0."""

    def slopes(x: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.sum(x**2 / 2 + 3 * np.maximum(x - 1, 0), axis=1), x + 3 * (x > 1)

    x = np.array([[3.0, 2.0, 1.5, 1.2, 1.01]])
    for method in METHODS:
        found = quench(slopes, x, method, 1e-8, 5000)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.x, 0.0, atol=3e-8)


# Which minimum.


class DoubleWell(LandscapeAlone):
    """V = Σ x⁴/4 − x²/2: minima at ±1, saddles wherever an x is 0."""

    def energy(self, x: np.ndarray) -> np.ndarray:
        return np.mean(x**4 / 4 - x**2 / 2, axis=1)

    def force(self, x: np.ndarray, t: float, noise: Any) -> np.ndarray:
        assert noise is None, "an estimate leads to no minimum"
        return x - x**3


def test_the_flow_ends_in_the_well_it_began_in() -> None:
    system = Langevin(DoubleWell(), 0.0, 0.1)
    x = np.random.default_rng(5).uniform(-2, 2, (4, 30))
    state = system.load_state({"x": x, "ceiling": np.ones(4)})
    found = quench(lambda rows, at: system.slopes(state, rows, at), x, "descent", 1e-9)
    np.testing.assert_allclose(found.x, np.sign(x), atol=1e-7)
    np.testing.assert_allclose(found.energy, -0.25, rtol=1e-12)
    np.testing.assert_array_equal(state.x, x)
    # A replica is asked for by its position.
    energy, gradient = system.slopes(state, x[[2]], np.array([2]))
    np.testing.assert_array_equal(gradient, x[[2]] ** 3 - x[[2]])
    assert energy[0] == np.mean(x[2] ** 4 / 4 - x[2] ** 2 / 2)


@pytest.mark.parametrize("method", METHODS)
def test_oscillators_have_one_minimum(method: str) -> None:
    given = harmonic(inherent_method=method, inherent_tolerance=1e-9, snapshots=[0.0, 0.5, 1.0])
    found = langevin.run(given)
    assert found["inherent_energy"].dims == ("replica", "inherent_time")
    np.testing.assert_array_equal(found["inherent_time"], [0.0, 0.5, 1.0])
    # |x| = |g|/k, and the energy is (k/2)|x|²/N.
    np.testing.assert_allclose(found["inherent_energy"], 0.0, atol=1e-18)
    lengths = np.linalg.norm(found["snapshot"].transpose("replica", "snapshot_time", "dof"), axis=2)
    np.testing.assert_allclose(found["inherent_distance"], lengths, rtol=1e-8)
    assert (found["inherent_index"] == 0).all() and (found["inherent_zero_modes"] == 0).all()
    np.testing.assert_allclose(found["inherent_curvature"], 2.0, rtol=1e-12)
    assert set(found["inherent_time"].values) <= set(found["time"].values)
    for name in found.data_vars:
        assert {"long_name", "units"} <= set(found[name].attrs)


@pytest.mark.parametrize("method", METHODS)
def test_minima_of_the_p_spin_model(method: str) -> None:
    """Below the configuration, without negative directions, stationary on the sphere."""
    found = langevin.run(pspin(inherent_method=method))
    energy = found["energy"].sel(time=found["inherent_time"])
    assert (found["inherent_energy"].values < energy.values).all()
    assert (found["inherent_gradient"] <= 1e-7).all()
    assert (found["inherent_index"] == 0).all() and (found["inherent_curvature"] > 0).all()
    # Two configurations of the sphere are no farther apart than its diameter, 2√N.
    assert (found["inherent_distance"] < 2 * math.sqrt(40)).all()
    assert found["inherent_energy"].attrs["threshold"] == pytest.approx(-2 / math.sqrt(3), rel=1e-12)


def test_descents_from_random_spins_end_near_the_threshold() -> None:
    """Gradient flow of N = 100 spins, 8 samples: E_th = −2/√3 for N → ∞.

    Finite N lies above: by N^(-2/3) times a number of order one, as edges of random spectra do; 2 N^(-2/3) =
    0.09 is allowed. By 20 of its scatter over samples, 0.015/√8, no ground state (-1.172) or mean (0) passes.
    """
    given = pspin(inherent_method="descent", inherent_tolerance=1e-4)
    given["system"]["n"], given["record"]["inherent"] = 100, [0.0]
    given["dynamics"]["t_max"], given["ensemble"] = 0.02, {"replicas": 8, "samples": 8, "seed": 2}
    found = langevin.run(given)["inherent_energy"].values
    threshold = -2 / math.sqrt(3)
    assert threshold - 0.01 < found.mean() < threshold + 2 * 100 ** (-2 / 3)


# Particles.


@pytest.mark.parametrize("name", mixtures.FORMS)
def test_the_hessian_of_particles_is_the_slope_of_their_forces(name: str) -> None:
    g = mixtures.geometry(name, (30, 10), 5.0)
    x = mixtures.spaced(40, 5.0, np.random.default_rng(6))
    field, matrix, step = Field(g, 1, 1), PairHessian(g, x).dense(), 1e-6
    moved = [
        (field.evaluate((x + step * u)[None]), field.evaluate((x - step * u)[None])) for u in np.eye(120)
    ]
    slope = np.array([(b.force[0] - a.force[0]) / (2 * step) for a, b in moved])
    # No pair is at its cutoff within the step; third derivatives leave 10⁻¹² of 10⁵, rounding 10⁻¹³/10⁻⁶.
    np.testing.assert_allclose(matrix, slope, rtol=0, atol=1e-6 * max(1.0, np.abs(slope).max()))
    np.testing.assert_array_equal(matrix, matrix.T)
    # Moving all alike costs nothing.
    np.testing.assert_allclose(matrix @ np.tile(np.eye(3), (40, 1)), 0.0, atol=1e-12 * np.abs(matrix).max())
    v = np.random.default_rng(7).standard_normal((120, 2))
    np.testing.assert_allclose(
        PairHessian(g, x).matvec(v), matrix @ v, rtol=0, atol=1e-12 * np.abs(slope).max()
    )


def test_inherent_structures_of_particles_do_not_depend_on_where_they_are() -> None:
    """Moved by any vector, by a box as well: the same energy, index 0 and three zero modes."""
    g = mixtures.geometry("lennard_jones", (32, 8), 5.0)
    x = mixtures.spaced(40, 5.0, np.random.default_rng(8))
    field = Field(g, 1, 1)

    def slopes(rows: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = field.evaluate(rows)
        return seen.energy, -seen.force

    # From near a minimum: from far away rounding decides which one of many is reached.
    x = quench(slopes, x[None], "lbfgs", 1e-6).x[0] + 0.01 * np.random.default_rng(9).standard_normal(120)
    both = np.stack([x, x + np.tile([0.7, -5.0, 2.2], 40)])
    found = quench(slopes, both, "lbfgs", 1e-8)
    assert (found.gradient <= 1e-8).all()
    assert (found.energy < slopes(both, np.arange(2))[0]).all()
    # Rounding of positions enters the path, but near a minimum not its energy.
    assert found.energy[0] == pytest.approx(found.energy[1], rel=1e-9)
    values = np.linalg.eigvalsh(PairHessian(g, found.x[0]).dense())
    assert np.sum(np.abs(values) < 1e-7 * values[-1]) == 3 and (values[3:] > 0).all()
    # Forces add up to zero: nothing carries the centre of mass away.
    drift = (found.x - both).reshape(2, 40, 3).mean(axis=1)
    np.testing.assert_allclose(drift, 0.0, atol=1e-9)


def test_a_run_of_particles_measures_them() -> None:
    dynamics = {"temperature": 1.0, "initial_temperature": 2.0, "dt": 1e-4, "t_max": 0.002}
    system = {"name": "kob_andersen", "n": 150, "equilibration_time": 0.01}
    found = langevin.run(small(system, dynamics, [0.0, 0.002]))
    assert (found["inherent_zero_modes"] == 3).all() and (found["inherent_index"] == 0).all()
    below = found["energy"].sel(time=found["inherent_time"]) - found["inherent_energy"]
    # Harmonic modes have (3/2) T each particle; the rest of it is less.
    assert ((below > 0) & (below < 10)).all()
    assert found["inherent_energy"].attrs["units"] == found["energy"].attrs["units"]


# Networks.

NET = {"name": "mlp", "widths": [3], "activation": "tanh", "loss": "mse_loss"}
DATA = {"name": "synthetic", "train": 24, "test": 8}


def net(system: dict[str, Any] = NET, **record: Any) -> dict[str, Any]:
    given = small(system, {"learning_rate": 0.1, "batch_size": 8, "t_max": 30}, [0, 30], **record)
    return {**given, "data": DATA}


def test_networks_come_to_rest_at_lower_losses() -> None:
    found = langevin.run(net(inherent_tolerance=1e-5))
    assert (found["inherent_gradient"] <= 1e-5).all()
    energy = found["energy"].sel(time=found["inherent_time"])
    assert (found["inherent_energy"].values < energy.values).all()
    assert found["inherent_energy"].attrs["examples"] == 24


def test_the_slope_of_a_network_is_that_of_its_energy() -> None:
    """Of the linear net in closed form: (W x − y)² over both outputs and eight points."""
    system, noise = small_nets.on_a_line(2)
    state = system.initial_state(noise)
    w = np.random.default_rng(9).standard_normal((1, 2))
    energy, gradient = system.slopes(state, w, np.array([1]))
    left = small_nets.X[:, None].astype(float) * w - np.eye(2)[small_nets.Y]
    assert energy[0] == pytest.approx(np.mean(left**2), rel=1e-6)
    np.testing.assert_allclose(gradient[0], np.mean(small_nets.X[:, None] * left, axis=0), rtol=1e-6)
    best = np.linalg.lstsq(small_nets.X[:, None].astype(float), np.eye(2)[small_nets.Y], rcond=None)[0]
    found = quench(
        lambda x, at: system.slopes(state, x, at),
        np.array(system.configuration(state), float),
        "lbfgs",
        1e-10,
    )
    np.testing.assert_allclose(found.x, np.tile(best, (2, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(harmonic(), id="harmonic"),
        pytest.param(pspin(), id="pspin"),
        pytest.param(net({"name": "network", "module": "small_nets:Normalised"}), id="batch-norm"),
    ],
)
def test_a_quench_leaves_no_trace(given: dict[str, Any]) -> None:
    """Streams, batches, running statistics: all else has the bits of the run without."""
    given = {**given, "record": {**given["record"], "inherent_evaluations": 50, "inherent_tolerance": 1e-3}}
    asked = given["record"]["inherent"]
    record = {k: v for k, v in given["record"].items() if not k.startswith("inherent")}
    plain = langevin.run({**given, "record": {**record, "snapshots": asked}})
    found = langevin.run({**given, "record": {**given["record"], "snapshots": asked}})
    own = [n for n in found.variables if str(n).startswith("inherent")]
    assert len(own) >= 5
    xr.testing.assert_equal(found.drop_vars(own), plain)


# Runs.


def test_resumed_runs_and_shards_have_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {**harmonic(), "output": {"path": "whole.nc", "figure": False}}
    langevin.run(given)
    stopped = {**given, "output": {"path": "stopped.nc", "figure": False}}
    interrupted(stopped, monkeypatch, after=0.4)
    langevin.run(stopped, resume=True)
    assert_same(tmp_path / "whole.nc", tmp_path / "stopped.nc")
    parts = {**given, "output": {"path": "parts.nc", "figure": False}}
    langevin.run({**parts, "ensemble": {**TWO, "shards": 2}})
    assert_same(tmp_path / "whole.nc", tmp_path / "parts.nc")


def test_a_long_quench_hears_who_asks_to_stop() -> None:
    settings = run_files.load(harmonic())
    from langevin.config import build

    ensemble = Ensemble.regular(2, 2, 1)
    system = build.build(settings, ensemble)
    probe = InherentStructures(settings.record, ensemble, system)
    state = system.load_state({"x": np.ones((2, 12)), "ceiling": np.ones(2)})

    class Asked:
        configuration = staticmethod(lambda: state.x)

    run: Any = Asked()
    run.state = state
    with interruption.listening() as stop:
        stop.note(interruption.Request("by the test", 130))
        with pytest.raises(Interrupted, match="by the test"):
            probe.take(run, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"inherent": [0.013]}, "record.inherent: 0.013 is between two steps"),
        ({"inherent_tolerance": 0}, "record.inherent_tolerance = 0: allowed: number > 0"),
        (
            {"inherent_method": "newton"},
            'record.inherent_method = "newton": allowed: one of "lbfgs", "descent"',
        ),
        (
            {"inherent": [], "inherent_method": "descent"},
            'inherent_method = "descent": allowed: "lbfgs" without',
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(record: dict[str, Any], said: str) -> None:
    given = harmonic()
    with pytest.raises(ConfigError) as caught:
        run_files.load({**given, "record": {**given["record"], **record}})
    (fault,) = caught.value.faults
    assert said in fault


def test_what_has_no_gradient_or_no_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    equations = {
        "system": {"name": "cugliandolo_kurchan", "p": 3},
        "dynamics": {"temperature": 0.5, "t_max": 10.0},
        "record": {"inherent": [1.0]},
    }
    with pytest.raises(
        ConfigError, match=r"record\.inherent = \[1\.0\]: allowed: \[\] \(cugliandolo_kurchan"
    ):
        run_files.load(equations)

    class Full:
        available = 1000

    monkeypatch.setattr("psutil.virtual_memory", Full)
    with pytest.raises(UserError, match=r"record\.inherent_method = 'lbfgs': a quench of 2 replicas of 12"):
        langevin.run(harmonic())


def test_the_figure_shows_both_energies() -> None:
    drawn = plotting.figure(langevin.run(harmonic()), quantity="inherent_energy")
    left, right = drawn.axes[:2]
    assert [line.get_label() for line in left.lines[:2]] == ["configurations", "inherent structures"]
    np.testing.assert_allclose(left.lines[1].get_ydata(), 0.0, atol=1e-12)
    assert "distance" in right.get_ylabel()
