"""Particles in a box: forces, lists, starts, exact laws of their dynamics, and what users get wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import mixtures
import numpy as np
import pytest
from conftest import SIGMAS, z_score
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as some
from scipy.integrate import quad

import langevin
from langevin.config import build, run_files, templates
from langevin.config.keys import toml
from langevin.core.dynamics import Langevin
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.errors import ConfigError, Diverged, UserError
from langevin.systems.particles import KobAndersen, Mixture
from langevin.systems.particles.kernels import _QUIET, Field, Geometry, Lists
from langevin.systems.particles.start import placed, pushed_apart
from langevin.systems.particles.tile import LANES


def evaluated(x: np.ndarray, g: Geometry) -> Any:
    return Field(g, 1, 1).evaluate(x[None])


def test_one_species() -> None:
    """What is said names keys that were written, or says what is needed beside them."""
    run_file = tomllib.loads(templates.template("kob_andersen"))
    del run_file["system"]["sigma"], run_file["system"]["epsilon"]
    run_file["system"]["composition"] = [1.0]
    with pytest.raises(ConfigError) as caught:
        run_files.load(run_file)
    for line, name in zip(caught.value.faults, ("sigma", "epsilon"), strict=True):
        assert line.startswith("system.composition = [1.0]: of 1 species; needed with it: system." + name)
    run_file["system"] |= {"sigma": [[1.0]], "epsilon": [[1.0]]}
    # As the key is by default, and in words that mean the same.
    for tagged in ("A", "all"):
        run_file["record"]["tagged"] = tagged
        assert run_files.load(run_file).record.tagged == tagged
    run_file["record"]["tagged"] = "B"
    with pytest.raises(ConfigError, match=r'record\.tagged = "B": allowed: all, A$'):
        run_files.load(run_file)
    run_file["system"]["sigma"] = [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ConfigError, match=r"system.sigma = \[\[1.0, 1.0\], \[1.0, 1.0\]\]: of 2 species"):
        run_files.load(run_file)


@pytest.mark.parametrize("name", mixtures.FORMS)
@pytest.mark.parametrize(
    ("counts", "box"), [((60,), 5.03), ((70, 23), 5.1), ((3, 2), 5.0), ((150, 40), 13.0)]
)
def test_forces_are_those_of_the_double_loop(name: str, counts: tuple[int, ...], box: float) -> None:
    g = mixtures.geometry(name, counts, box)
    x = mixtures.spaced(sum(counts), box, np.random.default_rng(len(name) + sum(counts)))
    found, (force, energy, virial) = evaluated(x, g), mixtures.double_loop(x, g)
    # To rounding: up to a hundred terms of either sign, 2⁻⁵³ of the largest each; images cost a few bits.
    largest = max(1.0, float(np.abs(force).max()))
    np.testing.assert_allclose(found.force[0], force, rtol=0, atol=3e-13 * largest)
    np.testing.assert_allclose([found.energy[0], found.virial[0]], [energy, virial], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", mixtures.FORMS)
def test_the_force_is_the_gradient(name: str) -> None:
    g = mixtures.geometry(name, (40, 10), 5.0)
    rng = np.random.default_rng(3)
    x = mixtures.spaced(50, 5.0, rng)
    force = evaluated(x, g).force[0]
    direction = rng.standard_normal(x.size)
    # Central differences of fourth order; h⁴ of the truncation against 1e-16 E/h of rounding.
    h = 1e-4
    e = [evaluated(x + k * h * direction, g).energy[0] for k in (-2, -1, 1, 2)]
    slope = (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h)
    scale = float(np.abs(force * direction).sum())
    assert abs(slope + force @ direction) < 1e-8 * scale


def test_what_moves_beyond_a_face_stays_the_same_particle() -> None:
    g = mixtures.geometry("lennard_jones", (64, 16), 5.2)
    rng = np.random.default_rng(5)
    x = mixtures.spaced(80, 5.2, rng)
    shifted = x + 5.2 * np.repeat(rng.integers(-2, 3, 80), 3)
    one, other = evaluated(x, g), evaluated(shifted, g)
    np.testing.assert_allclose(other.force, one.force, rtol=0, atol=1e-12 * np.abs(one.force).max() * 50)


@effort(max_examples=40, deadline=None)
@given(
    seed=some.integers(0, 2**32 - 1),
    counts=some.tuples(some.integers(1, 90), some.integers(1, 40)),
    density=some.floats(0.05, 1.3),
    skin=some.floats(0.02, 1.2),
    name=some.sampled_from(sorted(mixtures.FORMS)),
    cutoff=some.floats(1.05, 3.0),
)
def test_the_list_never_misses_a_pair(
    seed: int, counts: tuple[int, int], density: float, skin: float, name: str, cutoff: float
) -> None:
    """Free particles wander with large steps; forces by old lists are always those of the double loop."""
    rng = np.random.default_rng(seed)
    cutoff = cutoff if name == "lennard_jones" else mixtures.FORMS[name][1]
    box = max(2 * cutoff + 1e-6, (sum(counts) / density) ** (1 / 3))
    g = mixtures.geometry(name, counts, box, min(skin, box / 2), cutoff)
    lists = Lists(g)
    x = mixtures.spaced(sum(counts), box, rng, jitter=0.05)
    built, nothing = x.copy(), np.zeros((2, 0))
    rebuilt = 0
    for _ in range(4):
        # As long as it holds, and a bit longer.
        x = x + 0.15 * skin * rng.standard_normal(x.size)
        before, row = built.copy(), x.copy()
        assert lists.advance(row, built, _QUIET, 0, 0.0, nothing, True)
        rebuilt += not np.array_equal(before, built)
        force, energy, _ = mixtures.double_loop(x, g)
        largest = max(1.0, float(np.abs(force).max()))
        np.testing.assert_allclose(lists.force(), force, rtol=0, atol=1e-11 * largest)
        assert abs(lists.work.sums[3] - energy) < 1e-11 * max(1.0, abs(energy), largest)
    assert rebuilt >= 1 or sum(counts) < 20


def test_a_list_that_is_too_old_would_miss_pairs() -> None:
    """The negative control of the test above: without building anew the forces are wrong."""
    g = mixtures.geometry("lennard_jones", (80, 20), 6.0, skin=0.1)
    lists, rng = Lists(g), np.random.default_rng(0)
    x = mixtures.spaced(100, 6.0, rng)
    lists.advance(x.copy(), x.copy(), _QUIET, 0, 0.0, np.zeros((2, 0)), True)
    counts = lists.work.counts.copy()
    moved = x + 0.5 * rng.standard_normal(x.size)
    fresh = Lists(g)
    fresh.advance(moved.copy(), moved.copy(), _QUIET, 0, 0.0, np.zeros((2, 0)), True)
    assert not np.array_equal(counts[: lists.listed[0] * LANES], fresh.work.counts[: lists.listed[0] * LANES])


def langevin_system(**changed: Any) -> tuple[Any, Noise]:
    loaded = run_files.load(mixtures.settings(**changed))
    e = loaded.ensemble
    ensemble = Ensemble.regular(e.replicas, e.samples, e.seed, 1)
    return build.build(loaded, ensemble), Noise(e.seed, ensemble.replica)


@pytest.mark.parametrize("scheme", ["euler_maruyama", "leimkuhler_matthews"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_kernel_takes_the_plain_steps(scheme: str, temperature: float) -> None:
    changed = {"dynamics__scheme": scheme, "dynamics__temperature": temperature, "dynamics__dt": 5e-5}
    if temperature > 0:
        changed["record__response"] = True
    system, noise = langevin_system(**changed)
    state = system.initial_state(noise)
    x, held = state.x, None if state.held is None else state.held.copy()
    sums = None if state.accumulated is None else state.accumulated.copy()
    noise.streams()
    streams = noise.state_dict()
    fused = system.advance(state, 0.0, 40 * system.dt, noise)
    noise.load_state(streams)
    for n in range(40):
        x = system.step(x, n * system.dt, noise, sums, held)
    # Chaos has had 40 steps of 5e-5 to grow: a factor of a few.
    np.testing.assert_allclose(fused.x, x, rtol=0, atol=1e-11)
    if sums is not None:
        np.testing.assert_allclose(fused.accumulated, sums, rtol=0, atol=1e-11)
    if held is not None:
        np.testing.assert_array_equal(fused.held, held)


def test_the_centre_of_mass_diffuses_and_is_subtracted() -> None:
    """Internal forces add up to zero: it is free, with msd 6 T t/N exactly, at every dt."""
    temperature, steps, dt, n = 0.8, 50, 2e-4, 160
    system, noise = langevin_system(
        dynamics__scheme="euler_maruyama",
        dynamics__temperature=temperature,
        dynamics__dt=dt,
        ensemble__replicas=60,
        ensemble__samples=1,
    )
    start = system.initial_state(noise)
    moved, state, jumps = [], start, []
    for k in range(12):
        state = system.advance(state, k * steps * dt, (k + 1) * steps * dt, noise)
        moved.append(state.x)
    x = np.array([start.x, *moved]).reshape(13, 60, n, 3).mean(axis=2)
    jumps = (np.diff(x, axis=0) ** 2).sum(axis=-1).ravel()
    expected = 6 * temperature * steps * dt / n
    assert abs(z_score(jumps, expected)) < SIGMAS
    assert abs(z_score(jumps, expected * 1.5)) > SIGMAS
    # A shift of all particles is no displacement.
    drifted = state.x + np.tile([0.3, -0.2, 0.1], n)
    found = system.model.compare(state.x, drifted)
    np.testing.assert_allclose(found["msd"], 0, atol=1e-25)
    np.testing.assert_allclose(found["correlation"], 1, atol=1e-14)


class TrappedPair(Mixture):
    """Two particles, and a spring from each to the origin."""

    stiffness = 2.0

    def force(self, x: np.ndarray, t: float = 0.0, noise: Noise | None = None) -> np.ndarray:
        return super().force(x) - self.stiffness * x

    def energy(self, x: np.ndarray) -> np.ndarray:
        return super().energy(x) + self.stiffness * np.mean(x * x, axis=1)

    def fused_steps(self, *args: Any, **further: Any) -> None:  # type: ignore[override]
        return None


def test_a_pair_in_a_harmonic_trap_is_boltzmann_distributed() -> None:
    """Its distance has the density r² exp(−V(r)/T − κ r²/(4T)).

    Of 400 independent pairs ⟨V⟩ and ⟨r⟩ are compared at 5 σ: two false alarms in a million. The scheme's bias
    at dt = 0.004 is O(dt²), far below.
    """
    parameters = Mixture.Parameters(
        n=2, density=2e-3, potential="wca", composition=[1.0], sigma=[[1.0]], epsilon=[[1.0]]
    )
    temperature, dt, pairs = 1.5, 0.004, 400
    dynamics = Mixture.Dynamics(temperature=temperature, dt=dt, t_max=1.0)
    ensemble = Ensemble.regular(pairs, pairs, 11, 1)
    model = TrappedPair(parameters, dynamics, ensemble)
    system = Langevin(model, temperature, dt, scheme="leimkuhler_matthews")
    noise = Noise(11, ensemble.replica)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((pairs, 6)) * np.sqrt(temperature / TrappedPair.stiffness)
    x[:, 3:] = x[:, :3] + 1.2 * np.sign(rng.standard_normal((pairs, 3)))
    held = noise.normal(6)
    for n in range(500):
        x = system.step(x, n * dt, noise, None, held)
    r = np.sqrt(((x[:, :3] - x[:, 3:]) ** 2).sum(axis=1))
    measured = model.evaluate(x).energy

    def v(s: float) -> float:
        return 4 * (s**-12 - s**-6) + 1 if s < 2 ** (1 / 6) else 0.0

    def weight(s: float) -> float:
        return float(s**2 * np.exp(-v(s) / temperature - TrappedPair.stiffness * s * s / (4 * temperature)))

    norm = quad(weight, 0.5, 12, points=[1.1225])[0]
    mean_r = quad(lambda s: s * weight(s), 0.5, 12, points=[1.1225])[0] / norm
    mean_v = quad(lambda s: v(s) * weight(s), 0.5, 1.1225)[0] / norm
    assert abs(z_score(r, mean_r)) < SIGMAS
    assert abs(z_score(measured, mean_v)) < SIGMAS
    # An ideal pair would be closer: the test sees the repulsion.
    assert abs(z_score(r, np.sqrt(8 * 2 * temperature / (np.pi * TrappedPair.stiffness)))) > SIGMAS


@pytest.mark.parametrize("potential", ["lennard_jones", "wca", "harmonic"])
def test_pressure_is_what_the_volume_costs(potential: str) -> None:
    """P − ρT = −dE/dV of a configuration that is scaled with its box."""
    g = mixtures.geometry(potential, (80, 20), 5.3)
    x = mixtures.spaced(100, 5.3, np.random.default_rng(8))
    h, energies = 1e-5, []
    for scale in (1 - h, 1 + h):
        larger = Geometry(g.box * scale, g.species, g.potential, g.skin)
        energies.append(evaluated(x * scale, larger).energy[0])
    virial = evaluated(x, g).virial[0]
    # dV = 3V dλ, so Σ r·F = −dE/dλ.
    assert abs(virial + (energies[1] - energies[0]) / (2 * h)) < 1e-6 * abs(virial)


def test_starts() -> None:
    rng = np.random.default_rng(0)
    lattice = placed("lattice", 100, 6.0, rng).reshape(-1, 3)
    d = lattice[:, None] - lattice[None]
    d -= 6.0 * np.round(d / 6.0)
    distance = np.sqrt((d**2).sum(-1)) + 9 * np.eye(100)
    # 4·27 sites: neighbours are a/√2 apart.
    assert distance.min() == pytest.approx(6.0 / 3 / np.sqrt(2))
    g = mixtures.geometry("lennard_jones", (128, 32), (160 / 1.2) ** (1 / 3))
    x = np.array([placed("random", 160, g.box, np.random.default_rng(k)) for k in range(3)])
    assert Field(g, 3, 1).evaluate(x).closest.max() < 0.5
    assert Field(g, 3, 1).evaluate(pushed_apart(x, g, 1)).closest.min() > 0.8


def test_a_start_at_zero_temperature_is_at_rest() -> None:
    """A hundred time units down the gradient: what force is left is small against what it was."""
    system, noise = langevin_system(
        dynamics__initial_temperature=0.0, system__potential="harmonic", system__density=0.8,
        system__equilibration_time=100.0, dynamics__dt=0.05, dynamics__t_max=0.5, record__waiting_times=[0.0],
    )  # fmt: skip
    assert np.abs(system.model.force(system.initial_state(noise).x)).max() < 0.02


@pytest.mark.slow
def test_the_fluctuation_dissipation_theorem_holds_in_the_liquid() -> None:
    """χ = Δ/(6T) + t/N, Δ of all particles, N that of the free centre of mass; 16 starts, at 5 σ."""
    temperature = 2.0
    found = langevin.run(
        mixtures.settings(
            dynamics__temperature=temperature, dynamics__initial_temperature=temperature, dynamics__dt=2e-4,
            system__equilibration_time=0.4, ensemble__replicas=64, ensemble__samples=16,
            record__response=True, record__waiting_times=[0.0], record__lags=[0.01, 0.05],
            dynamics__t_max=0.05, record__shells=0,
        )
    ).isel(waiting_time=0)  # fmt: skip
    free = found["lag"] / 160
    for kelvin, holds in ((temperature, True), (1.3 * temperature, False)):
        excess = found["integrated_response"] - free - found["msd_all"] / (6 * kelvin)
        z = z_score(excess.groupby("sample").mean().transpose("sample", "lag"), 0.0)
        assert bool((np.abs(z) < SIGMAS).all()) == holds, z


def test_replicas_of_a_sample_leave_from_one_configuration() -> None:
    system, noise = langevin_system(ensemble__replicas=4, ensemble__samples=2)
    x = system.initial_state(noise).x
    np.testing.assert_array_equal(x[0], x[2])
    assert (x[0] != x[1]).all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"system__cutoff": 3.0}, "system.cutoff = 3: pairs interact up to 3, half the box is 2.554"),
        ({"system__n": 100}, "system.cutoff = 2.5: pairs interact up to 2.5, half the box is 2.184"),
        ({"system__sigma": [[1.0, 0.8], [0.7, 0.88]]}, "system.sigma = [[1.0, 0.8], [0.7, 0.88]]: must be a"),
        ({"system__epsilon": [[1.0]]}, "system.epsilon = [[1.0]]: of 1 species; needed: 2"),
        ({"system__composition": [0.8, 0.3]}, "system.composition = [0.8, 0.3]: must be 1 to 8 fractions"),
        ({"system__composition": [0.9999, 0.0001]}, "system.n = 160: leaves a species"),
        ({"system__potential": "wca", "system__cutoff": 2.0}, "system.cutoff = 2: allowed: 0, unless"),
        (
            {"dynamics__initial_temperature": float("inf")},
            "dynamics.initial_temperature = inf: a random start",
        ),
        ({"record__wavenumbers": []}, "record.wavenumbers = []: must be a list of at least one number > 0"),
        ({"record__overlap_distance": 0.0}, "record.overlap_distance = 0.0: allowed: number > 0"),
        ({"system__skin": 4.0}, "system.skin = 4: must be ≤ half the box, 2.554"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as found:
        run_files.load(mixtures.settings(**changed))
    assert any(fault.startswith(said) for fault in found.value.faults), found.value.faults


def test_a_start_that_overlaps_is_refused() -> None:
    with pytest.raises(UserError, match=r"system.density = 6: particles of the start overlap, the closest"):
        langevin.run(mixtures.settings(system__density=6.0, system__n=1000))


def test_a_step_that_is_too_long_is_found_out() -> None:
    with pytest.raises(Diverged, match=r"try a smaller dynamics.dt \(now 0.005\)"):
        langevin.run(mixtures.settings(dynamics__dt=5e-3, system__equilibration_time=0.0))
    with pytest.raises(UserError, match=r"dynamics.dt = 0.005: too large to equilibrate with"):
        langevin.run(mixtures.settings(dynamics__dt=5e-3, system__equilibration_time=1.0))


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """Lists, held noise and streams are in the checkpoint: SIGKILL in the middle changes no bit."""
    given = mixtures.settings(dynamics__t_max=0.6)
    whole = langevin.run(given)
    text = "\n".join(
        f"[{section}]\n" + "\n".join(f"{k} = {toml(v)}" for k, v in keys.items())
        for section, keys in given.items()
    )
    (tmp_path / "run.toml").write_text(text + '\npath = "run.nc"\ncheckpoint_interval = 0\n')
    command = [sys.executable, "-m", "langevin", "run", "run.toml", "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path)
    checkpoint = tmp_path / "run.checkpoint.nc"
    while process.poll() is None:
        if checkpoint.exists():
            time.sleep(0.3)
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL
    resumed = langevin.resume(tmp_path / "run.nc")
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=str(name))


def test_kob_andersen_is_80_to_20() -> None:
    parameters = KobAndersen.Parameters(n=1001)
    dynamics = KobAndersen.Dynamics(temperature=1.0, dt=1e-4, t_max=1.0)
    model = KobAndersen(parameters, dynamics, Ensemble.regular(1, 1, 0, 1))
    assert model.mixture.counts == (801, 200)
    assert model.box**3 * 1.2 == pytest.approx(1001)
