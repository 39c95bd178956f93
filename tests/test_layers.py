"""What is measured of each layer: sums over layers are the whole, by independent code; the figure; faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from small_nets import built, settings
from torch import nn

import langevin
from langevin.analysis import connect
from langevin.commands.cli import main
from langevin.config.keys import HessianKeys
from langevin.errors import ConfigError
from langevin.systems.networks.measure import layers
from langevin.systems.networks.measure.layer_curvature import LayeredHessian
from langevin.systems.networks.measure.measurement import gradient_noise
from langevin.systems.networks.network import Network
from langevin.systems.networks.replicas.tiny import Tiny

#: 64 points of five features: nets whose Hessian is a small matrix.
CLOUD = {"name": "test_network_hessian:Cloud", "count": 64}

NETS: dict[str, dict[str, Any]] = {
    "torch": {"name": "mlp", "widths": [6, 5], "activation": "relu"},
    "tiny": {"name": "mlp", "widths": [6, 5], "activation": "tanh"},
    "convolution": {"name": "small_net", "filters": [2, 2], "hidden": 5},
    "batch-norm": {"name": "network", "module": "small_nets:Normalised"},
}


def moved(name: str, steps: int = 10, **keys: Any) -> tuple[Network, Any, Any]:
    """Return a network, and its state at the start and after some steps."""
    record = {"layers": True, "hessian_examples": 20, **keys.pop("record", {})}
    given = {"precision": "double", "learning_rate": 0.1, **keys}
    if name == "torch":
        given |= {"backend": "torch"}
    data = {"name": "synthetic", "train": 64, "test": 32, "like": "mnist"} if "conv" in name else CLOUD
    network, noise = built(settings(NETS[name], data, record=record, **given))
    start = network.initial_state(noise)
    return network, start, network.advance(start, 0, steps, noise)


def sizes(network: Network) -> np.ndarray:
    return np.array([b.stop - b.start for b in layers.blocks(network.layout)], dtype=float)


@pytest.mark.parametrize("name", sorted(NETS))
def test_displacements_of_layers_are_their_definition_and_add_up(name: str) -> None:
    network, start, end = moved(name)
    found = network.compare(network.reference(start), end)
    apart = (start.weights.numpy() - end.weights.numpy()) ** 2
    for k, block in enumerate(layers.blocks(network.layout)):
        expected = apart[:, block.start : block.stop].mean(1)
        np.testing.assert_allclose(found["layer_msd"][:, k], expected, rtol=1e-13)
    weights = sizes(network)
    assert weights.sum() == network.dof
    np.testing.assert_allclose(found["layer_msd"] @ weights / network.dof, found["msd"], rtol=1e-13)


@pytest.mark.parametrize(
    ("name", "batch_size"), [*((n, 8) for n in NETS), *(("batch-norm", b) for b in (30, 40, 64))]
)
def test_gradient_noise_of_layers_adds_up(name: str, batch_size: int) -> None:
    """With batch-norm on all ways to find it: many batches, two that are disjoint, none, and all examples."""
    batches = {"batches": "full"} if batch_size == 64 else {"batches": "iid"}
    network, _, state = moved(name, batch_size=batch_size, **batches)
    assert isinstance(network.units, Tiny) == (name == "tiny")
    found = network.at_waiting(state)
    whole = found["layer_gradient_noise"] @ sizes(network) / network.dof
    assert found["layer_gradient_noise_error"].shape == (3, len(sizes(network)))
    np.testing.assert_allclose(whole, found["gradient_noise"], rtol=1e-12)
    none = name == "batch-norm" and batch_size == 64
    assert np.isnan(whole).all() == none
    if not none:
        # A network of two layers that have the noise of one has another.
        assert np.ptp(found["layer_gradient_noise"]) > 0.01 * found["gradient_noise"].max()


def test_gradient_noise_of_a_layer_is_its_definition() -> None:
    network, _, state = moved("torch")
    module = network.built(0)
    with torch.no_grad():
        for p, view in zip(module.parameters(), network.layout.views(state.weights[1]), strict=True):
            p.copy_(view)
    subset = network.chosen.probed[1]
    inputs, labels = network.train.gather(subset.index)
    gradients = []
    for x, y in zip(inputs, labels, strict=True):
        loss = nn.functional.cross_entropy(module(x[None]), y[None])
        gradients.append(torch.autograd.grad(loss, list(module.parameters())))
    found = network.at_waiting(state)
    for k in range(len(gradients[0])):
        each = torch.stack([g[k].flatten() for g in gradients]).numpy()
        expected = each.var(axis=0, ddof=1).mean()
        np.testing.assert_allclose(found["layer_gradient_noise"][1, k], expected, rtol=1e-11)
        parts = [p.var(axis=0, ddof=1).mean() for p in np.array_split(each, 10)]
        error = np.std(parts, ddof=1) / np.sqrt(10) * np.sqrt(1 - 40 / 64)
        np.testing.assert_allclose(found["layer_gradient_noise_error"][1, k], error, rtol=1e-10)


@pytest.mark.parametrize(("name", "batch_size"), [("torch", 8), ("batch-norm", 8), ("batch-norm", 40)])
def test_errors_of_one_layer_are_those_of_the_whole(
    name: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network whose only layer descends, both are the same number."""
    record = {"gradient_examples": 40}
    network, _, state = moved(name, batch_size=batch_size, record=record)
    probe, subset = network.probing.probe(0, 0), network.chosen.probed[0]
    network.probing.load(0, state)
    whole = gradient_noise(probe, subset)
    # One tensor that holds everything: gradients joined.
    from langevin.systems.networks.measure import layer_noise

    joined = layer_noise._squares
    monkeypatch.setattr(layer_noise, "_squares", lambda ts: np.full(len(ts), joined(ts).sum()))
    found = layer_noise.layer_noise(probe, subset) * sizes(network) / network.dof
    np.testing.assert_allclose(found[0], whole.value, rtol=1e-12)
    np.testing.assert_allclose(found[1], whole.error, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(set(NETS) - {"convolution"}))
def test_blocks_of_the_hessian_add_up(name: str) -> None:
    """Exactly: blocks of the matrix, and eigenvalues of these by numpy."""
    network, _, state = moved(name)
    operator = network.hessian(state, 1)
    assert isinstance(operator, LayeredHessian)
    matrix = operator.matvec(np.eye(network.dof))
    found = operator.further(np.random.default_rng(1), HessianKeys())
    assert set(found) == {"layer_hessian_trace", "layer_hessian_top"}
    traces, tops = (found[n][1] for n in ("layer_hessian_trace", "layer_hessian_top"))
    for k, block in enumerate(layers.blocks(network.layout)):
        own = matrix[block.start : block.stop, block.start : block.stop]
        np.testing.assert_allclose(traces[k], np.trace(own), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(tops[k], np.linalg.eigvalsh((own + own.T) / 2)[-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(traces.sum(), np.trace(matrix), rtol=1e-10)


def test_large_blocks_are_estimated_and_small_ones_known() -> None:
    """Without the matrix: a bias exactly, traces within 5 of their errors, 30 Lanczos steps to 10⁻⁶.

    The errors follow from 40 probes; four blocks: a false alarm once in 10⁴ (Student's t).
    """
    network, _, state = moved("convolution")
    operator = network.hessian(state, 0)
    keys = HessianKeys(hessian_exact=0, hessian_steps=30, hessian_probes=40)
    found = {n: v for n, (_, v) in operator.further(np.random.default_rng(1), keys).items()}
    matrix = operator.matvec(np.eye(network.dof))
    estimated = 0
    for k, block in enumerate(layers.blocks(network.layout)):
        own = matrix[block.start : block.stop, block.start : block.stop]
        error, residual = found["layer_hessian_trace_error"][k], found["layer_hessian_top_residual"][k]
        apart = abs(found["layer_hessian_trace"][k] - np.trace(own))
        top = np.linalg.eigvalsh((own + own.T) / 2)[-1]
        if block.stop - block.start <= 70:
            assert error == residual == 0
            np.testing.assert_allclose(apart, 0, atol=1e-10)
        else:
            estimated += 1
            assert 0 < apart < 5 * error < abs(np.trace(own))
        np.testing.assert_allclose(found["layer_hessian_top"][k], top, rtol=1e-6)
    assert 1 <= estimated < len(sizes(network))


# The file.


def run(path: Path | None = None, **record: Any) -> xr.Dataset:
    given: dict[str, Any] = {
        "system": {"name": "network", "module": "small_nets:Normalised"},
        "data": CLOUD,
        "dynamics": {"t_max": 12, "batch_size": 8, "device": "cpu", "learning_rate": 0.1},
        "ensemble": {"replicas": 2, "seed": 3},
        "record": {
            "waiting_times": [0, 4],
            "lags": [1, 2, 4, 8],
            "hessian": [0, 12],
            "layers": True,
            **record,
        },
        "output": {"figure": False} | ({"path": str(path)} if path else {}),
    }
    return langevin.run(given)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a result with all that is measured of layers."""
    path = tmp_path_factory.mktemp("layers") / "run.nc"
    run(path, layer_angles=True, snapshots=[12]).close()
    return path


def test_the_file_holds_layers_along_one_dimension(stored: Path) -> None:
    found = xr.load_dataset(stored)
    names = ["layers.1.weight", "layers.1.bias", "layers.2.weight", "layers.2.bias"]
    assert found["layer"].to_numpy().tolist() == [*names, "layers.4.weight", "layers.4.bias"]
    assert found["layer_axes"].to_numpy().tolist() == [2, 1, 1, 1, 2, 1]
    two, waiting = ("replica", "waiting_time", "lag", "layer"), ("replica", "waiting_time", "layer")
    curved = ("replica", "hessian_time", "layer")
    dims = {
        "layer_msd": two,
        "layer_angle": two,
        "layer_gradient_noise": waiting,
        "layer_gradient_noise_error": waiting,
        "layer_hessian_trace": curved,
        "layer_hessian_top": curved,
    }
    for name, expected in dims.items():
        assert found[name].dims == expected and found[name].attrs["units"] and found[name].attrs["long_name"]
    share = found["layer_dof"] / found["msd"].attrs["dof"]
    xr.testing.assert_allclose((found["layer_msd"] * share).sum("layer", skipna=False), found["msd"])
    mean = (found["layer_gradient_noise"] * share).sum("layer", skipna=False)
    # Single precision: sums of squares of whole tensors, in the same order.
    xr.testing.assert_allclose(mean, found["gradient_noise"], rtol=1e-6)
    xr.testing.assert_allclose(found["layer_hessian_trace"].sum("layer"), found["hessian_trace"], rtol=1e-9)
    assert np.isnan(found["layer_msd"].sel(waiting_time=4).isel(lag=-1)).sum() == 0


def test_layers_change_no_other_number(stored: Path) -> None:
    """The same bits of all that is there without them."""
    plain, layered = run(layers=False, layer_angles=True, snapshots=[12]), xr.load_dataset(stored)
    assert set(layered.data_vars) - set(plain.data_vars) == {
        "layer_msd",
        "layer_gradient_noise",
        "layer_gradient_noise_error",
        "layer_hessian_trace",
        "layer_hessian_top",
    }
    for name in set(plain.data_vars) - {"layer_angle"}:
        np.testing.assert_array_equal(plain[name], layered[name])
    # Without them angles are of matrices alone.
    own = layered["layer_angle"].sel(layer=plain["layer"].to_numpy())
    np.testing.assert_array_equal(plain["layer_angle"], own)


def test_a_curve_has_no_layers(stored: Path) -> None:
    with pytest.raises(ConfigError, match=r"record\.layers = true: allowed: false with a curve"):
        connect.settings(stored, overrides={"record.layers": True})


def test_a_figure_of_layers_is_drawn(stored: Path, tmp_path: Path) -> None:
    made = CliRunner().invoke(
        main, ["plot", str(stored), "--quantity", "layer_msd", "-o", str(tmp_path / "a.png")]
    )
    assert made.exit_code == 0, made.output
    assert (tmp_path / "a.png").stat().st_size > 10_000
