"""Modules off the ordinary have the right Hessian, or the run that asks for it does not begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import curved_nets
import numpy as np
import pytest
import torch
from small_nets import built, settings
from test_network_hessian import NETS, Moved, small_data, trained

import langevin
from langevin.errors import UserError
from langevin.systems.networks.nets.differentiable import twice_differentiable
from langevin.systems.networks.trials import hessian_trial

pytestmark = pytest.mark.usefixtures("one_thread")

CLOUD = small_data(curved_nets.FEATURES)

#: Modules with a Hessian, of which torch alone finds none or a wrong one, or of which layers' types tell
#: lies.
RIGHT: dict[str, dict[str, Any]] = {
    "attention": {},
    "fused": {},
    "encoder": {},
    "LSTM": {"function": "recurrent", "kind": "LSTM"},
    "GRU": {"function": "recurrent", "kind": "GRU"},
    "RNN": {"function": "recurrent", "kind": "RNN"},
    "weight_norm": {},
    "weight_norm, the other axis": {"function": "weight_norm", "dim": 1},
    "weight_norm, whole": {"function": "weight_norm", "dim": None},
    "old_weight_norm": {},
    "bent": {},
    "tied": {},
    **{name: {"function": "hidden", "act": name} for name in curved_nets.ALLOWED},
}


def named(name: str) -> dict[str, Any]:
    """Return [system] of one of the modules."""
    arguments = dict(RIGHT.get(name, {}))
    function = arguments.pop("function", name)
    module = f"curved_nets:{function}"
    if arguments.get("dim", 0) is None:
        # TOML has no word for it; −1 means the same to torch's kernel.
        arguments["dim"] = -1
    return {"name": "network", "module": module, "arguments": arguments}


def asked(system: dict[str, Any], **dynamics: Any) -> Any:
    return settings(system, CLOUD, record={"hessian": [0]}, **dynamics)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_the_hessian_is_the_slope_of_the_gradient(name: str) -> None:
    """Central differences of the module's own gradient, in double precision, as in `test_network_hessian`."""
    built(asked(named(name)))
    net, state = trained(named(name), CLOUD, steps=2, examples=12, execution="sequential")
    operator, step = net.hessian(state, 0), 1e-5
    found = operator.dense()
    with twice_differentiable():
        at = Moved(net, state, 0)
        columns = [(at.gradient(step * d) - at.gradient(-step * d)) / (2 * step) for d in np.eye(net.dof)]
    scale = np.abs(found).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found, np.array(columns).T, rtol=0, atol=1e-7 * max(1, scale))
    np.testing.assert_allclose(found, operator.matvec(np.eye(net.dof)), rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("act", curved_nets.REFUSED)
def test_what_has_none_is_refused_before_the_run(act: str) -> None:
    system = {"name": "network", "module": "curved_nets:hidden", "arguments": {"act": act}}
    with pytest.raises(UserError, match=curved_nets.REFUSED[act][1]) as caught:
        built(asked(system))
    said = str(caught.value)
    assert said.startswith(
        "record.hessian = [0.0]: allowed: [] with this network (Hidden, loss cross_entropy"
    )
    assert "\n" not in said and len(said) < 600
    # Whoever asks for no Hessian may have it.
    built(settings(system, CLOUD))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("outputs_reversed", "not the derivative"),
        ("Listed", "kept elsewhere, too"),
        ("Plain", "should be buffers"),
        ("Checkpointed", "not the derivative"),
        ("Renormed", "changes its trainable parameters"),
    ],
)
def test_other_ways_to_have_none(name: str, said: str) -> None:
    arguments = {"reentrant": False} if name == "Checkpointed" else {}
    with pytest.raises(UserError, match=said):
        built(asked({"name": "network", "module": f"curved_nets:{name}", "arguments": arguments}))


def straight_loss(outputs: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
    """A loss whose gradient is not its own."""
    each = (curved_nets.Straight.apply(outputs) - 1).square().mean(-1)
    return each.mean() if reduction == "mean" else each


def test_a_loss_of_ones_own_is_tried_with_networks_of_the_package() -> None:
    with pytest.raises(UserError, match="loss test_hessian_trial:straight_loss"):
        built(asked({"name": "mlp", "widths": [3], "loss": "test_hessian_trial:straight_loss"}))


def weighted(outputs: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
    """Weights of classes: the mean over all is not the mean of means over parts."""
    weight = torch.tensor([0.1, 1.0, 2.5], dtype=outputs.dtype)
    return torch.nn.functional.cross_entropy(outputs, labels, weight=weight, reduction=reduction)


def test_a_loss_of_all_examples_at_once_is_not_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    system = {"name": "mlp", "widths": [3], "loss": "test_hessian_trial:weighted"}
    net, noise = built(asked(system))
    state = net.initial_state(noise)
    found = net.hessian(state, 0).dense(), net.gauss_newton(state, 0).dense()
    monkeypatch.setattr(type(net.train), "piece", property(lambda self: 7))
    for matrix, one in zip(found, (net.hessian(state, 0), net.gauss_newton(state, 0)), strict=True):
        np.testing.assert_allclose(one.dense(), matrix, rtol=0, atol=1e-14)
    net.twin.additive = True
    assert np.abs(net.hessian(state, 0).dense() - found[0]).max() > 1e-3
    assert built(asked({"name": "mlp", "widths": [3], "loss": "multilabel_soft_margin_loss"}))[
        0
    ].twin.additive


@pytest.mark.parametrize(
    "system",
    [
        *NETS.values(),
        {"name": "mlp", "widths": [9, 9, 9], "activation": "relu", "initialisation": "xavier"},
        {"name": "lenet"},
        {"name": "small_net"},
        {"name": "resnet18", "width": 3},
    ],
    ids=str,
)
def test_nothing_is_refused_that_the_suite_knows_to_be_right(system: dict[str, Any]) -> None:
    """All networks of the package, with kinks and max-pooling, from three seeds; not tried in a run."""
    images = {"name": "synthetic", "like": "cifar10", "train": 24, "test": 8}
    deep = system["name"] in ("lenet", "small_net", "resnet18")
    if system.get("module") == "torch.nn:Sequential":
        system = {**system, "module": "test_network_hessian:no_hidden_layer"}
    given = settings(system, images if deep else small_data(), replicas=1 if deep else 3)
    net, _ = built(given)
    for module in net.modules:
        net.modules = [module]
        hessian_trial.tried(net.twin, *hessian_trial._start(net))


def test_products_of_many_vectors_only_where_torch_can() -> None:
    """A backward pass that looks at values cannot be taken along vectors."""
    net, state = trained({"name": "network", "module": "test_hessian_trial:looking"}, CLOUD, steps=0)
    assert net.twin.batched
    net, _ = built(asked({"name": "network", "module": "test_hessian_trial:looking"}))
    assert not net.twin.batched
    found = net.hessian(state, 0).matvec(np.eye(net.dof))
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-14)


class Looking(torch.autograd.Function):
    """tanh whose backward pass asks for a value."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2) if float(g.abs().sum()) >= 0 else g


def looking(classes: int) -> torch.nn.Module:
    return curved_nets.Hidden(classes, Looking.apply)


def test_a_run_with_attention_has_its_spectra(tmp_path: Path) -> None:
    """It failed at its end, after all its steps."""
    run = {
        "system": {"name": "network", "module": "curved_nets:attention"},
        "data": CLOUD,
        "dynamics": {"t_max": 4, "batch_size": 8, "device": "cpu"},
        "ensemble": {"replicas": 2, "seed": 1},
        "record": {"hessian": [4], "times": [0, 4], "waiting_times": [], "lags": []},
        "output": {"path": str(tmp_path / "run.nc"), "figure": False},
    }
    with langevin.run(run) as found:
        assert np.isfinite(found["hessian_eigenvalue"]).all()


def test_operations_are_as_they_were_outside() -> None:
    """Attention's fast form and weight norm's kernel are back, whatever happens inside."""
    with pytest.raises(ZeroDivisionError), twice_differentiable():
        assert torch.zeros(1).dtype == torch.float64
        assert not torch.backends.mha.get_fastpath_enabled()
        raise ZeroDivisionError
    assert torch.zeros(1).dtype == torch.float32
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
