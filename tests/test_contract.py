"""What every registered system promises the engine. A new system is tested here by being registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import every_system

import langevin
from langevin.config import build, registry, run_files, sections
from langevin.config.settings import Settings
from langevin.core.capabilities import (
    Deterministic,
    HasFurtherDimensions,
    HasHessian,
    HasMinima,
    MeasuresAtWaiting,
)
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.core.schemes import SCHEMES
from langevin.core.system import System
from langevin.errors import ConfigError
from langevin.observables import two_time

pytestmark = pytest.mark.parametrize("name", every_system())
Maker = Callable[..., dict[str, Any]]

#: Steps of an advance: networks go through their examples more than twice.
STEPS = 10

#: Networks that take long. The code that measures their response is that of `network`, which is tried.
DEEP = ("resnet158", "small_net", "vgg16")


def built(settings: Settings, ensemble: Ensemble) -> tuple[System, Noise]:
    return build.build(settings, ensemble), Noise(ensemble.seed, ensemble.replica)


@pytest.fixture(params=[False, True, "scheme"], ids=["", "response", "other scheme"])
def settings(name: str, small: Maker, request: pytest.FixtureRequest) -> Settings:
    if request.param == "scheme":
        return run_files.load(small(name, dynamics__scheme=other_scheme(name)))
    if request.param and name in DEEP:
        pytest.skip("a response as that of smaller networks")
    try:
        return run_files.load(small(name, record__response=request.param))
    except ConfigError as error:
        assert request.param
        assert error.faults[0].startswith("record.response = true: allowed: false")
        pytest.skip("measures no response")


@pytest.fixture
def ensemble(name: str) -> Ensemble:
    return regular(name)


def other_scheme(name: str) -> str:
    """The scheme that is not a system's default."""
    key = sections.dynamics_keys(registry.load(name)).model_fields.get("scheme")
    if key is None:
        pytest.skip("no scheme to choose")
    (other,) = set(SCHEMES) - {key.default}
    return other


def regular(name: str, seed: int = 7, threads: int = 1) -> Ensemble:
    """Four replicas in two samples; the one replica of a deterministic system."""
    replicas, samples = (1, 1) if issubclass(registry.load(name), Deterministic) else (4, 2)
    return Ensemble.regular(replicas, samples, seed, threads)


def steps(system: System, number: int) -> float:
    """Time after so many steps; of 0.02 each, if any time can be reached."""
    return number * (system.time_step or 0.02)


def at(system: System, noise: Noise, *numbers: int) -> Any:
    """State after advancing from 0 through the times after these numbers of steps."""
    state, now = system.initial_state(noise), 0.0
    for t in (steps(system, n) for n in numbers):
        state = system.advance(state, now, t, noise)
        now = t
    return state


def test_shapes_and_values(settings: Settings, ensemble: Ensemble) -> None:
    system, noise = built(settings, ensemble)
    start = system.initial_state(noise)
    end = system.advance(start, 0.0, steps(system, STEPS), noise)
    measured = system.measure(end)
    compared = system.compare(system.reference(start), end)
    assert "energy" in measured
    assert "msd" in compared
    waited = system.at_waiting(end) if isinstance(system, MeasuresAtWaiting) else {}
    further = system.dimensions() if isinstance(system, HasFurtherDimensions) else {}
    for name, value in {**measured, **compared, **waited}.items():
        assert value.shape[0] == ensemble.size and value.ndim == 1 + len(further.get(name, ())), name
        assert np.isfinite(value).all(), name
        assert {"long_name", "units"} <= set(system.attributes()[name]), name
    assert (compared["msd"] > 0).all()
    x = system.configuration(end)
    assert system.dof in (None, 0 if x is None else x.shape[1])
    np.testing.assert_allclose(system.compare(system.reference(end), end)["msd"], 0, atol=1e-14)


def test_advance_leaves_its_argument_alone(settings: Settings, ensemble: Ensemble) -> None:
    system, noise = built(settings, ensemble)
    start = system.initial_state(noise)
    before = {k: v.copy() for k, v in system.state_dict(start).items()}
    system.advance(start, 0.0, steps(system, STEPS), noise)
    for key, value in system.state_dict(start).items():
        np.testing.assert_array_equal(value, before[key])


def test_the_seed_decides_everything(name: str, settings: Settings) -> None:
    def energy(seed: int) -> np.ndarray:
        system, noise = built(settings, regular(name, seed))
        return system.measure(at(system, noise, STEPS))["energy"]

    np.testing.assert_array_equal(energy(7), energy(7))
    assert (energy(7) != energy(8)).all() or issubclass(settings.system_class, Deterministic)


def test_threads_do_not_change_a_bit(name: str, settings: Settings) -> None:
    states = []
    for threads in (1, 2, 3):
        system, noise = built(settings, regular(name, threads=threads))
        states.append(system.state_dict(at(system, noise, STEPS)))
    for other in states[1:]:
        for key, value in states[0].items():
            np.testing.assert_array_equal(value, other[key])


def test_a_replica_is_the_same_in_any_batch(settings: Settings, ensemble: Ensemble) -> None:
    whole, whole_noise = built(settings, ensemble)
    if issubclass(settings.system_class, Deterministic):
        pytest.skip("one replica is all")
    expected = whole.configuration(at(whole, whole_noise, STEPS))
    if expected is None:
        pytest.skip("no configuration")
    for keep in [0, 2], [1, 3], [3], [2, 1]:
        part, noise = built(settings, ensemble.subset(np.array(keep)))
        found = part.configuration(at(part, noise, STEPS))
        # To rounding: sums may run in another order. Single precision forces, few steps, no chaos yet.
        np.testing.assert_allclose(found, expected[keep], rtol=0, atol=1e-5, err_msg=str(keep))


def test_a_split_advance_is_bitwise_the_same(settings: Settings, ensemble: Ensemble) -> None:
    system, noise = built(settings, ensemble)
    whole = system.state_dict(at(system, noise, STEPS))
    again, noise = built(settings, ensemble)
    split = again.state_dict(at(again, noise, 1, 6, STEPS))
    for key, value in whole.items():
        np.testing.assert_array_equal(split[key], value)


def test_a_state_survives_saving(settings: Settings, ensemble: Ensemble) -> None:
    system, noise = built(settings, ensemble)
    state = at(system, noise, 6)
    middle, end = steps(system, 6), steps(system, STEPS)
    saved, streams = system.state_dict(state), noise.state_dict()
    expected = system.state_dict(system.advance(state, middle, end, noise))
    other, other_noise = built(settings, ensemble)
    other_noise.load_state(streams)
    found = other.state_dict(other.advance(other.load_state(saved), middle, end, other_noise))
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def follows_from_the_trajectory(found: xr.Dataset) -> bool:
    """Return whether there is one; the same numbers then follow from it as were found while running."""
    if "configuration" not in found:
        return False
    for quantity in ("msd", "correlation"):
        after = getattr(two_time, quantity)(found["configuration"], found["waiting_time"], found["lag"])
        np.testing.assert_array_equal(after, found[quantity])
    return True


def test_the_file_has_the_schema_and_what_its_numbers_follow_from(
    name: str, small: Maker, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = langevin.run(small(name, output__path="made.nc"))
    made.close()
    with xr.open_dataset(tmp_path / "made.nc") as found:
        assert found["energy"].dims == ("replica", "time")
        assert found["msd"].dims == ("replica", "waiting_time", "lag")
        assert found.attrs["Conventions"].startswith("CF-")
        assert found.attrs["status"] == "complete"
        for word in ("numpy", "torch"):
            assert word in found.attrs["versions"]
        assert np.isfinite(found["energy"]).all()
        assert (found["energy"].dtype, found["msd"].dtype) == (np.float64, np.float64)
        for variable in found.data_vars.values():
            assert {"long_name", "units"} <= set(variable.attrs), variable.name
        # NaN exactly where t_w + t lies beyond the run.
        beyond = found["waiting_time"] + found["lag"] > float(found["time"][-1]) + 1e-9
        assert bool((found["msd"].isnull() == beyond).all())
        assert follows_from_the_trajectory(found) or issubclass(registry.load(name), Deterministic)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made.nc"]


def test_a_hessian_is_symmetric_and_belongs_to_its_replica(name: str, small: Maker) -> None:
    settings = run_files.load(small(name))
    whole, noise = built(settings, regular(name))
    if not isinstance(whole, HasHessian):
        pytest.skip("no Hessian")
    operator = whole.hessian(start := whole.initial_state(noise), 0)
    vectors = np.random.default_rng(0).standard_normal((operator.size, 2))
    kept = vectors.copy()
    products = operator.matvec(vectors)
    np.testing.assert_array_equal(vectors, kept)
    assert products.shape == vectors.shape and products.dtype == np.float64
    crossed = vectors.T @ products
    # Forces may be in single precision.
    assert abs(crossed[0, 1] - crossed[1, 0]) < 1e-5 * np.abs(crossed).max()
    part, _ = built(settings, regular(name).subset(np.array([2, 0])))
    assert isinstance(part, HasHessian)
    same = part.hessian(part.initial_state(noise), 1)
    np.testing.assert_allclose(same.matvec(vectors), products, rtol=0, atol=1e-5 * np.abs(products).max())
    if operator.size <= 300:
        dense = operator.dense()
        np.testing.assert_allclose(dense @ vectors, products, rtol=0, atol=1e-5 * np.abs(products).max())
    assert {"rows"} <= set(whole.attributes()["hessian"]), start


def test_gradients_are_slopes_of_the_energy(name: str, small: Maker) -> None:
    """Along the gradient itself, up to one factor, that of the extensive energy over the measured one."""
    whole, noise = built(run_files.load(small(name)), regular(name))
    if not isinstance(whole, HasMinima):
        pytest.skip("no gradient")
    state = whole.initial_state(noise)
    x = np.array(whole.configuration(state), dtype=float)
    every, kept = np.arange(len(x)), x.copy()
    energy, gradient = whole.slopes(state, x, every)
    np.testing.assert_allclose(energy, whole.measure(state)["energy"], rtol=1e-5, atol=1e-6)
    size = np.linalg.norm(gradient, axis=1)
    # Forces in single precision leave 10⁻⁷/10⁻⁴; a kink of ReLU within the step its share of the slope.
    step = 1e-4 * np.linalg.norm(x, axis=1)
    ahead, behind = (
        whole.slopes(state, x + sign * (step / size)[:, None] * gradient, every)[0] for sign in (1, -1)
    )
    factor = size / ((ahead - behind) / (2 * step))
    np.testing.assert_allclose(factor, factor[0], rtol=0.05)
    assert factor[0] > 0.95
    np.testing.assert_array_equal(x, kept)
    alone = whole.slopes(state, x[[1]], np.array([1]))
    np.testing.assert_allclose(alone[1][0], gradient[1], rtol=0, atol=1e-5 * np.abs(gradient[1]).max())
    np.testing.assert_array_equal(whole.configuration(whole.placed(state, x)), x)
