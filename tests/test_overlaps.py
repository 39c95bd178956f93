"""Normalised overlaps and angles of layers: what changes when a net is rescaled, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from small_nets import built, settings
from torch import nn

from langevin.commands.cli import main
from langevin.core.noise import Noise
from langevin.errors import LangevinError
from langevin.sweep import simulation
from langevin.systems.networks.measure import overlaps

RELU = {"name": "mlp", "widths": [6, 5], "activation": "relu"}


def pair() -> tuple[Any, Any, Any]:
    network, noise = built(
        settings(RELU, precision="double", record={"layer_angles": True}, learning_rate=0.1)
    )
    early = network.advance(network.initial_state(noise), 0, 10, noise)
    return network, early, network.advance(early, 10, 40, noise)


def scaled(network: Any, weights: torch.Tensor, factors: dict[str, float]) -> torch.Tensor:
    """Return weights with parameters times a factor, by their names."""
    made = weights.clone()
    for block in network.layout.blocks:
        made[:, block.start : block.stop] *= factors.get(block.name, 1.0)
    return made


def found(network: Any, a: torch.Tensor, b: torch.Tensor) -> dict[str, np.ndarray]:
    state = network.initial_state(Noise(3, [0, 1, 2]))
    kept = network.reference(replace(state, weights=a))
    return network.compare(kept, replace(state, weights=b))


def test_they_are_their_definitions() -> None:
    network, early, late = pair()
    a, b = early.weights.numpy(), late.weights.numpy()
    measured = found(network, early.weights, late.weights)
    cosine = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(measured["normalised_overlap"], cosine, rtol=1e-12)
    assert measured["layer_angle"].shape == (3, 3)
    for k, block in enumerate(overlaps.layers(network.layout)):
        u, v = a[:, block.start : block.stop], b[:, block.start : block.stop]
        cosine = np.sum(u * v, 1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
        np.testing.assert_allclose(np.cos(measured["layer_angle"][:, k]), cosine, rtol=1e-12)


def test_rescaling_layers_of_a_relu_net_changes_no_angle() -> None:
    """W₁, b₁ times c and W₂ over c: the same outputs and angles, to rounding; msd and overlap are others."""
    network, early, late = pair()
    first, _, second, _ = (block.name for block in network.layout.blocks[:4])
    bias = network.layout.blocks[1].name
    factors = {first: 7.0, bias: 7.0, second: 1 / 7}
    a, b = (scaled(network, s.weights, factors) for s in (early, late))
    for x, y in ((early.weights, a), (late.weights, b)):
        np.testing.assert_allclose(
            network.predict(x[0], 0).outputs, network.predict(y[0], 0).outputs, rtol=1e-9
        )
    before, after = found(network, early.weights, late.weights), found(network, a, b)
    np.testing.assert_allclose(after["layer_angle"], before["layer_angle"], rtol=1e-12)
    # The negative control: neither is left alone by factors of layers.
    assert (abs(after["msd"] / before["msd"] - 1) > 0.1).all()
    assert (abs(after["normalised_overlap"] - before["normalised_overlap"]) > 1e-6).all()


def test_growing_all_weights_changes_neither() -> None:
    network, early, late = pair()
    before, after = (found(network, early.weights, c * late.weights) for c in (1.0, 3.0))
    for name in ("normalised_overlap", "layer_angle"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-12)
    assert (after["msd"] > 2 * before["msd"]).all()


def test_small_angles_keep_their_digits() -> None:
    """Turned by 10⁻¹¹: a cosine would say 0."""
    network, early, _ = pair()
    block = overlaps.layers(network.layout)[0]
    u = early.weights[:1, block.start : block.stop]
    across = torch.randn(u.shape, generator=torch.Generator().manual_seed(1), dtype=u.dtype)
    across -= (across @ u[0] / (u[0] @ u[0]))[:, None] * u
    weights = early.weights.clone()
    weights[:1, block.start : block.stop] += 1e-11 * across * u.norm() / across.norm()
    angle = found(network, early.weights, weights)["layer_angle"][0, 0]
    # Weights of order one are known to 10⁻¹⁶ each: the angle to some 10⁻⁵ of itself.
    assert angle == pytest.approx(1e-11, rel=1e-4)


def test_files_hold_them_and_figures_and_compare_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"layer_angles": True, "waiting_times": [1, 10], "lags": [1, 5, 20]}
    for name, seed in (("a.nc", 0.1), ("b.nc", 0.2)):
        simulation.execute(settings(RELU, record=record, learning_rate=seed), tmp_path / name)
    with xr.open_dataset("a.nc") as made:
        assert made["normalised_overlap"].dims == ("replica", "waiting_time", "lag")
        assert made["layer_angle"].dims == ("replica", "waiting_time", "lag", "layer")
        assert made["layer"].values.tolist()[0].endswith("weight")
        assert made["layer_angle"].attrs["units"] == "rad"
        assert ((made["normalised_overlap"] > 0) & (made["normalised_overlap"] < 1)).all()
    for quantity in ("normalised_overlap", "layer_angle"):
        ran = CliRunner().invoke(main, ["plot", "a.nc", "--quantity", quantity, "-o", f"{quantity}.png"])
        assert ran.exit_code == 0, ran.output
    ran = CliRunner().invoke(main, ["compare", "a.nc", "b.nc", "--quantity", "normalised_overlap"])
    assert ran.exit_code == 0 and "normalised_overlap" in ran.output, ran.output


class Scales(nn.Module):
    """The first inputs, each times a weight."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""
        return x.flatten(1)[:, : len(self.weight)] * self.weight


def test_nets_without_matrices_have_no_angles() -> None:
    system = {"name": "network", "module": "test_overlaps:Scales"}
    with pytest.raises(LangevinError, match=r"record\.layer_angles = true: allowed: false"):
        built(settings(system, record={"layer_angles": True}))
    network, _ = built(settings(system))
    assert network.dimensions() == {}
