"""The Gauss-Newton matrix: by hand, of curvlinops; where it is the Hessian, where Fisher's information."""

from __future__ import annotations

from typing import Any

import curved_nets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from test_network_hessian import NETS, network_run, reference, small_data, trained
from torch import Tensor, nn

import langevin
from langevin.config import run_files
from langevin.errors import ConfigError
from langevin.observables.landscape import spectra
from langevin.systems.networks.measure import curvature

pytestmark = pytest.mark.usefixtures("one_thread")

CLOUD = small_data(curved_nets.FEATURES)
KINDS = ["tanh", "relu, three layers", "squared error", "sigmoid outputs", "not in closed form", "batch-norm"]


def by_hand(net: Any, state: Any, position: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ⟨Jᵀ ∂²ℓ J⟩ and ⟨Σ_k ∂ℓ/∂f_k ∂²f_k⟩, each from derivatives of one example's outputs at a time."""
    module, inputs, labels = reference(net, state, position)
    names = [name for name, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]
    weights = nn.utils.parameters_to_vector(module.parameters()).detach()

    def outputs(w: Tensor, x: Tensor) -> Tensor:
        parts = torch.split(w, [s.numel() for s in shapes])
        named = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        found: Tensor = torch.func.functional_call(module, named, (x[None],))[0]
        return found

    total, rest = torch.zeros(net.dof, net.dof).double(), torch.zeros(net.dof, net.dof).double()
    for x, y in zip(inputs, labels, strict=True):
        f = outputs(weights, x)
        jacobian = torch.autograd.functional.jacobian(lambda w, x=x: outputs(w, x), weights)
        curved = torch.autograd.functional.hessian(lambda f, y=y: net.loss.mean(f[None], y[None]), f)
        slope = torch.autograd.functional.jacobian(lambda f, y=y: net.loss.mean(f[None], y[None]), f)
        total += jacobian.T @ curved @ jacobian
        rest += torch.autograd.functional.hessian(lambda w, x=x, s=slope: s @ outputs(w, x), weights)
    return (total / len(labels)).numpy(), (rest / len(labels)).numpy()


@pytest.mark.parametrize("which", KINDS)
def test_it_is_the_matrix_by_hand_and_the_hessian_without_the_rest(which: str) -> None:
    net, state = trained(NETS[which], examples=11)
    found, hessian = net.gauss_newton(state, 1).dense(), net.hessian(state, 1).dense()
    expected, rest = by_hand(net, state, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(hessian - found, rest, rtol=0, atol=1e-13)
    assert np.abs(rest).max() > 1e-3
    np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(found).min() > -1e-13


def test_of_a_model_linear_in_its_weights_it_is_the_hessian() -> None:
    for loss in ("cross_entropy", "mse_loss"):
        net, state = trained({**NETS["no hidden layer"], "loss": loss})
        found = net.gauss_newton(state, 0).dense()
        np.testing.assert_allclose(found, net.hessian(state, 0).dense(), rtol=0, atol=1e-15)
        assert np.abs(found).max() > 0.1


def test_of_cross_entropy_it_is_fishers_information() -> None:
    """The mean of g gᵀ, g = ∂ log p(y)/∂w, over labels that the model itself draws, not those of the data."""
    net, state = trained(NETS["tanh"], examples=9)
    module, inputs, _ = reference(net, state, 0)
    parameters, fisher = [*module.parameters()], np.zeros((net.dof, net.dof))
    for x in inputs:
        logs = F.log_softmax(module(x[None]), -1)[0]
        for log in logs:
            parts = torch.autograd.grad(log, parameters, retain_graph=True)
            g = torch.cat([p.reshape(-1) for p in parts]).numpy()
            fisher += float(log.detach().exp()) * np.outer(g, g) / len(inputs)
    np.testing.assert_allclose(net.gauss_newton(state, 0).dense(), fisher, rtol=0, atol=1e-14)


@pytest.mark.parametrize("which", ["tanh", "relu, three layers", "batch-norm"])
def test_it_is_that_of_curvlinops(which: str) -> None:
    from curvlinops import GGNLinearOperator

    net, state = trained(NETS[which])
    module, inputs, labels = reference(net, state, 0)
    theirs = GGNLinearOperator(module, nn.CrossEntropyLoss(), [*module.parameters()], [(inputs, labels)])
    expected = (theirs @ torch.eye(net.dof, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(net.gauss_newton(state, 0).dense(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["attention", "recurrent", "weight_norm"])
def test_modules_whose_fast_operations_have_no_second_derivative(name: str) -> None:
    system = {"name": "network", "module": f"curved_nets:{name}"}
    if name == "recurrent":
        system["arguments"] = {"kind": "GRU"}
    net, state = trained(system, CLOUD, steps=0, examples=5)
    # Attention's fast form has no batching rule in torch.func: the plain one, as in `twice_differentiable`.
    with curvature.twice_differentiable():
        expected, _ = by_hand(net, state, 0)
    np.testing.assert_allclose(net.gauss_newton(state, 0).dense(), expected, rtol=0, atol=1e-13)


def test_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    net, state = trained(NETS["tanh"])
    operator = net.gauss_newton(state, 0)
    expected = operator.dense()
    monkeypatch.setattr(type(net.train), "piece", property(lambda self: 7))
    monkeypatch.setattr(curvature, "TOGETHER", 2)
    np.testing.assert_allclose(operator.dense(), expected, rtol=0, atol=1e-14)


def test_a_loss_that_is_linear_in_the_outputs_has_none() -> None:
    net, state = trained({**NETS["tanh"], "loss": "test_network_hessian:first_output"})
    np.testing.assert_array_equal(net.gauss_newton(state, 0).dense(), 0)
    assert np.abs(net.hessian(state, 0).dense()).max() > 1e-2


def test_a_run_has_both_spectra_exactly_and_by_lanczos() -> None:
    exact = langevin.run(network_run(hessian=[0, 60], ggn=True))
    found = exact["ggn_eigenvalue"]
    assert found.dims == exact["hessian_eigenvalue"].dims
    assert found.attrs["definition"].startswith("⟨Jᵀ") and found.attrs["examples"] == 40
    assert (found > -1e-12).all() and (found.isel(mode=-1) > 1e-2).all()
    ritz = langevin.run(network_run(hessian=[0, 60], ggn=True, hessian_exact=0, hessian_steps=40))
    renamed = {name: spectra.summary(spectra.gauss_newton(ds)) for name, ds in (("e", exact), ("r", ritz))}
    xr.testing.assert_allclose(renamed["e"]["highest"], renamed["r"]["highest"], rtol=1e-6)
    assert (renamed["e"]["negative"] == 0).all()
    trace, error = ritz["ggn_trace"], ritz["ggn_trace_error"]
    # Six estimates: one in ten thousand lies further off (t distribution of 7 degrees of freedom).
    assert (np.abs(trace - exact["ggn_trace"]) < 8 * error).all()
    with pytest.raises(ValueError, match="asks for it"):
        spectra.gauss_newton(exact.drop_vars([n for n in exact.data_vars if str(n).startswith("ggn")]))


def test_only_networks_have_one() -> None:
    given = {
        "system": {"name": "pspin", "p": 3, "n": 12},
        "dynamics": {"temperature": 0.0, "dt": 0.1, "t_max": 1.0},
        "record": {"hessian": [0.0], "ggn": True},
    }
    with pytest.raises(ConfigError, match=r"record.ggn = true: allowed: false \(pspin gives no Gauss-Newton"):
        run_files.load(given)
