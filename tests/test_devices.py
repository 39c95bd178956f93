"""Networks on a GPU do what they do on a CPU; with deterministic algorithms to the same bits when resumed.

Where there is no GPU, `second_device` stands for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import every_system, learns
from second_device import HERE, SecondDevice, crossings
from small_nets import built, settings

import langevin
from langevin.analysis import connect
from langevin.config import build, registry, run_files
from langevin.core.ensemble import Ensemble
from langevin.core.noise import Noise
from langevin.systems.networks import devices, kit
from langevin.systems.networks.curve import NetworkCurve
from langevin.systems.networks.network import Network

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = {"name": "synthetic", "train": 24, "test": 20, "like": "cifar10"}
LETTERS = {"name": "characters", "train": 24, "test": 20, "length": 3, "letters": 3, "order": 1}
CONVOLUTION = {"name": "small_net", "filters": [2, 3], "hidden": 6}
NORMALISED = {"name": "network", "module": "small_nets:Normalised"}
TINY = {"name": "mlp", "widths": [5]}

#: What a network is, its data, and its steps.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]] = {
    "stacked": (TINY, None, {"momentum": 0.5, "execution": "stacked"}),
    "alone": (TINY, None, {"optimiser": "adam", "learning_rate": 0.01, "execution": "sequential"}),
    "convolution": (CONVOLUTION, IMAGES, {"momentum": 0.5, "augment": "crop_flip"}),
    "batch-norm": (NORMALISED, None, {"momentum": 0.5, "weight_decay": 0.1, "decay": "weights"}),
    "recurrent": ({"name": "gru", "hidden": 3, "embedding": 2}, LETTERS, {"rate_factors": {"*bias*": 0.5}}),
    "sizes change": (TINY, None, {"batches": "persistent", "persistence": 2}),
}


@pytest.fixture(params=["second", pytest.param("cuda", marks=pytest.mark.gpu)])
def elsewhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Return what makes networks that are built from then on live on another device than the CPU."""
    where = torch.device("cuda") if request.param == "cuda" else HERE
    mode = ExitStack()

    def move() -> None:
        for module in (devices, kit):
            monkeypatch.setattr(module, "prepare", lambda name, deterministic: where)
        if where == HERE:
            mode.enter_context(SecondDevice())

    with mode:
        yield move


def observed(case: str, steps: int = 3, **record: Any) -> dict[str, np.ndarray]:
    """Return all that a network of a case measures, after a few steps in double precision, (R, …) mostly."""
    system, data, dynamics = CASES[case]
    keys = {"learning_rate": 0.05, "precision": "double", "backend": "torch", **dynamics}
    record |= {"energy_examples": 20, "gradient_examples": 20, "hessian_examples": 10}
    network, noise = built(settings(system, data, replicas=2, record=record, **keys))
    start = network.initial_state(noise)
    reference = network.reference(start)
    state = network.advance(start, 0, steps, noise)
    found = {**network.measure(state), **network.at_waiting(state), **network.compare(reference, state)}
    found |= {f"state {name}": array for name, array in network.state_dict(state).items()}
    x = network.configuration(state)
    found |= {f"evaluated {name}": values for name, values in network.evaluate(x).items()}
    predictions = network.predict(x[0], 0)
    assert predictions is not None
    v = np.random.default_rng(1).standard_normal((network.dof, 1))
    found |= {"predictions": predictions.outputs, "hessian": network.hessian(state, 0).matvec(v)}
    found["gauss-newton"] = network.gauss_newton(state, 0).matvec(v)
    again = network.load_state(network.state_dict(state))
    further = network.advance(again, steps, steps + 1, noise)
    return found | {"further": network.configuration(further)}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        # Sums in another order, in double precision: four steps and a Hessian make 10⁴ times as much of it.
        scale = np.nanmax(np.abs(values), initial=1e-3)
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-11 * scale, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_networks_do_the_same_there(case: str, elsewhere: Callable[[], None]) -> None:
    expected = observed(case, layers=True, layer_angles=True)
    elsewhere()
    found = observed(case, layers=True, layer_angles=True)
    assert_close(found, expected)


@pytest.mark.parametrize("case", [case for case in CASES if case != "sizes change"])
def test_a_step_asks_nothing_of_the_host(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could not be captured: not one number is read, nothing is copied."""
    system, data, dynamics = CASES[case]
    for module in (devices, kit):
        monkeypatch.setattr(module, "prepare", lambda name, deterministic: HERE)
    with SecondDevice():
        keys = {"backend": "torch", "precision": "double", **dynamics}
        network, noise = built(settings(system, data, replicas=2, **keys))
        units = network.make_units()
        units.load(0, network.initial_state(noise))
        index = torch.zeros((len(units.groups[0]), 8), dtype=torch.int64, device=HERE)
        with crossings() as crossed:
            units.steppers[0].step(index, 0.1)
        assert crossed == []
        with crossings() as crossed:
            assert np.isfinite(float(units.steppers[0].weights.sum()))
            units.steppers[0].weights.cpu()
            torch.ones(3).to(HERE)
        assert len(crossed) == 3, "control"


@pytest.mark.parametrize("curve", ["bezier", "chain", "band"])
def test_curves_do_the_same_there(curve: str, ends: Path, elsewhere: Callable[[], None]) -> None:
    file = ends / "two.nc"
    if not file.exists():
        dynamics = {"t_max": 10, "batch_size": 8, "device": "cpu", "learning_rate": 0.1}
        given = {"system": TINY, "data": {"name": "synthetic", "train": 24, "test": 20}, "dynamics": dynamics}
        given |= {"ensemble": {"replicas": 2}, "record": {"times": [10], "snapshots": [10]}}
        langevin.run({**given, "output": {"path": str(file), "figure": False}}).close()

    def looked() -> dict[str, np.ndarray]:
        keys = {"ensemble.replicas": 1, "dynamics.precision": "double", "record.positions": 3}
        keys |= {"system.curve": curve, "system.bends": 2, "dynamics.backend": "torch"}
        system, noise = (
            build.build(connect.settings(file, overrides=keys), Ensemble.regular(1, 1, 3)),
            Noise(3, [0]),
        )
        state = system.advance(system.initial_state(noise), 0, 3, noise)
        assert isinstance(system, NetworkCurve)
        found = {**system.measure(state), **system.at_end(state)}
        return found | {"bends": system.configuration(state), "weights": state.weights.cpu().numpy()}

    expected = looked()
    elsewhere()
    assert_close(looked(), expected)


@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_responses_do_the_same_there(temperature: float, elsewhere: Callable[[], None]) -> None:
    """At T > 0 the noise is drawn on the device, and is that of the device."""
    if temperature and not torch.cuda.is_available():
        pytest.skip("no generator but the CPU's here")

    def responded() -> dict[str, np.ndarray]:
        keys = {"precision": "double", "backend": "torch", "learning_rate": 0.05, "temperature": temperature}
        record = {"response": True, "waiting_times": [2], "lags": [1, 2], "times": [4]}
        network, noise = built(settings(TINY, replicas=2, record=record, **keys))
        state = network.advance(network.initial_state(noise), 0, 2, noise)
        network.at_waiting(state)
        reference = network.reference(state)
        state = network.advance(network.load_state(network.state_dict(state)), 2, 4, noise)
        return {**network.compare_at(reference, state, 2.0), "x": network.configuration(state)}

    expected = {} if temperature else responded()
    elsewhere()
    found = responded()
    if temperature:
        assert np.isfinite(found["integrated_response"]).all()
    else:
        assert_close(found, expected)


# On a GPU alone: bits.


@pytest.fixture
def exact(name: str, small: Callable[..., dict[str, Any]]) -> Callable[[list[int]], tuple[Network, Noise]]:
    """Return a maker of a network on a GPU, with some of four replicas, by deterministic algorithms."""
    given = small(
        name, dynamics__device="cuda", dynamics__deterministic=True, dynamics__execution="sequential"
    )
    made = run_files.load(given)

    def make(keep: list[int]) -> tuple[Network, Noise]:
        ensemble = Ensemble.regular(4, 2, 7).subset(np.array(keep))
        system = build.build(made, ensemble)
        assert isinstance(system, Network)
        return system, Noise(7, ensemble.replica)

    return make


def networks() -> list[Any]:
    """Return the names of all networks that have steps of their own, as parameters of tests."""
    known = every_system()
    return [p for p in known if learns(p.values[0]) and issubclass(registry.load(p.values[0]), Network)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", networks())
def test_a_resumed_run_has_the_same_bits_on_a_gpu(name: str, exact: Any) -> None:
    """As on a CPU, since sums have one order then: cut anywhere, saved and loaded by another process."""
    network, noise = exact([0, 1, 2, 3])
    whole = network.state_dict(network.advance(network.initial_state(noise), 0, 20, noise))
    network, noise = exact([0, 1, 2, 3])
    middle = network.advance(network.initial_state(noise), 0, 7, noise)
    saved, streams = network.state_dict(middle), noise.state_dict()
    network, noise = exact([0, 1, 2, 3])
    noise.load_state(streams)
    state = network.advance(network.load_state(saved), 7, 8, noise)
    again = network.state_dict(network.advance(state, 8, 20, noise))
    for key, value in whole.items():
        np.testing.assert_array_equal(again[key], value, err_msg=key)


@pytest.mark.gpu
@pytest.mark.parametrize("name", networks())
def test_a_replica_by_itself_has_the_same_bits_on_a_gpu(name: str, exact: Any) -> None:
    """Where each has calls of its own; stacked, products of several may be summed in another order."""
    network, noise = exact([0, 1, 2, 3])
    whole = network.configuration(network.advance(network.initial_state(noise), 0, 10, noise))
    part, noise = exact([2, 1])
    found = part.configuration(part.advance(part.initial_state(noise), 0, 10, noise))
    np.testing.assert_array_equal(found, whole[[2, 1]])
