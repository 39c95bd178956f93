r"""Whether a module has a Hessian that can be believed: tried on a few examples, before a run that measures
it.

Differentiated twice by torch, a module gives numbers whatever it does inside. They are those of the Hessian
of its loss L only if each operation has right first and second derivatives, and everything is computed in
double precision. Five things tell, at weights w (those of the start, moved by a hundredth, so that no unit
stands at the kink of ReLU) and along random directions d, each parameter's entries relative to its own size:

0. With w put in the places of its parameters by name, as the Hessian needs it, its loss is that of the module
   that has the parameters w. Weights that are also kept in a list or a closure are not found by name.
1. It computes, twice backwards, and its outputs are in double precision.
2. The gradient g is the derivative of L: [L(w + εd) − L(w − εd)]/2ε = g·d. Straight-through estimators,
   reversed or rescaled gradients, values taken out of the graph break this. g·d is a sum of the shares of U
   units of ReLU, of either sign. A part of order ε of them has a kink within ε and loses some of its share,
   so that the sum is off by √ε of the size s = |(g_i d_i)| that it has; 10⁻⁴ at `SHORT`, of which `SLOPE` is
   ten times. Rounding adds 10⁻¹⁶ |L|/ε, which is allowed for. Two directions of three have to agree: a
   derivative that is wrong agrees by chance along one with a probability of the order of `SLOPE`.
3. u·Hv = v·Hu. Rounding leaves errors in H v of 10⁻¹⁶ of its size, in directions of their own: u·(error) is
   10⁻¹⁶ |u||Hv|/√M, times what cancels in sums; in single precision it is 10⁻⁷ |u||Hv|/√M. `SYMMETRY` lies
   between the two.
4. Hd is the slope of the gradient: [g(w + εd) − g(w − εd)]/2ε, for each parameter's share of it. Of U units
   of ReLU (and P examples) some U P ε are at a kink within ε, and each spoils the slope by its share over ε,
   which may be anything. With a million of them it is one in one try at ε = 10⁻⁶, in a thousand at 10⁻⁹. A
   share is right if it agrees to `CURVATURE` along one of four directions, with ever smaller ε (`STEPS`): one
   that is wrong agrees along none. Rounding leaves 10⁻¹⁶ |g|/ε, which is allowed for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from langevin.config.keys import toml
from langevin.core.schedule import Grid
from langevin.errors import FOREIGN, LangevinError, UserError, first_line, shortened

from ..measure.curvature import LossHessian, Twin, products
from ..measure.gauss_newton import GaussNewton
from ..nets.layout import beside

if TYPE_CHECKING:
    from .on_trial import OnTrial

#: Losses with which the tests try the networks of this package.
TESTED = ("cross_entropy", "mse_loss")
#: Relative errors that are allowed, as the module's docstring derives them.
SLOPE, SYMMETRY, CURVATURE = 1e-3, 1e-10, 1e-4
#: Sizes ε of the steps, relative to the weights.
SHORT, STEPS = 1e-8, (1e-6, 1e-7, 1e-8, 1e-9)
#: Examples: as many as make so many multiplications, but no more than eight.
WORK, EXAMPLES = 10**8, 8
#: How far from the start it is tried, relative to the size of each parameter.
AWAY = 0.01


class _Refused(Exception):
    """What was seen, in a few words."""


def require_hessian(network: OnTrial) -> None:
    """Make sure, if the run measures Hessians or minima, that derivatives of this network can be believed.

    Networks of this package with its usual losses are tried by the tests instead.

    Raises
    ------
    UserError
        If they cannot; it says what was seen.
    """
    record = network.record
    asked = next((n for n in ("hessian", "inherent") if getattr(record, n) != Grid()), None)
    if asked is None or _is_known(network):
        return
    name = type(network.modules[0]).__name__
    try:
        twin = _twin(network)
        # A few examples are not shared with other processes.
        world, twin.world = twin.world, None
        tried(twin, *_start(network), gauss_newton=record.ggn)
        twin.world = world
    except _Refused as seen:
        given = shortened(toml(getattr(record, asked).as_given()))
        raise UserError(
            f"record.{asked} = {given}: allowed: [] with this network "
            f"({name}, loss {network.loss.name}): {seen}"
        ) from None


def _is_known(network: OnTrial) -> bool:
    return not network.foreign and network.loss.name in TESTED


def _twin(network: OnTrial) -> Twin:
    try:
        return network.twin
    except FOREIGN as error:
        raise _failed(error) from None


def _start(network: OnTrial) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return weights near the start of the first replica, what is beside them, and a few examples."""
    module, layout, twin = network.modules[0], network.layout, network.twin
    weights, rng = layout.of(module).double(), np.random.default_rng(1)
    moved = weights + AWAY * _direction(layout, weights, rng)
    label = int(network.ensemble.replica[0])
    count = min(EXAMPLES, max(1, WORK // max(1, twin.work)))
    return moved, beside(module), network.chosen.curved[label].index[:count]


def _direction(layout: Any, weights: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a random vector whose entries are as large as those of their parameter."""
    direction = torch.from_numpy(rng.standard_normal(len(weights))).to(weights)
    whole = float(weights.square().mean().sqrt()) or 1.0
    for block in layout.blocks:
        own = slice(block.start, block.stop)
        direction[own] *= float(weights[own].square().mean().sqrt()) or whole
    return direction


def tried(
    twin: Twin, weights: Tensor, beside: dict[str, Tensor], index: Tensor, gauss_newton: bool = False
) -> None:
    """Try the Hessian at these weights on these examples, and the Gauss-Newton matrix if it is measured, too.

    Raises
    ------
    _Refused
        If it cannot be believed.
    """
    at = LossHessian(twin, weights, beside, index)
    try:
        _computes(at)
        _is_the_module(at)
        _is_a_derivative(at)
        _is_symmetric(at)
        if gauss_newton:
            _is_symmetric(GaussNewton(twin, weights, beside, index), "its Gauss-Newton matrix is")
        _is_the_slope(at)
        _choose_pieces(at)
        _choose_batches(at)
    except (_Refused, LangevinError, torch.OutOfMemoryError):
        raise
    except FOREIGN as error:
        raise _failed(error) from None


def _failed(error: BaseException) -> _Refused:
    said = first_line(error)
    hint = "; tensors that it keeps should be buffers or parameters" if "dtype" in said else ""
    return _Refused(f"in double precision, differentiated twice, it fails: {shortened(said, 200)}{hint}")


def _computes(at: LossHessian) -> None:
    with at.twin.limited(len(at.index)):
        inputs, labels = at.twin.gather(at.index)
        outputs = at.outputs(at.weights.clone().requires_grad_(), inputs)
        loss = at.twin.loss.mean(outputs, labels)
    for name, tensor in (("outputs are", outputs), ("loss is", loss)):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.dtype != torch.float64:
            said = str(tensor.dtype).removeprefix("torch.")
            raise _Refused(f"its {name} {said} where weights and inputs are float64")


def _is_the_module(at: LossHessian) -> None:
    twin, layout = at.twin, at.twin.layout
    own = dict(twin.module.named_parameters()) | dict(twin.module.named_buffers())
    kept = {name: own[name].detach().clone() for name in (*layout.names, *at.beside)}
    given = dict(zip(layout.names, layout.views(at.weights), strict=True)) | at.beside
    with twin.limited(len(at.index)), torch.no_grad():
        inputs, labels = twin.gather(at.index)
        try:
            for name, value in given.items():
                own[name].copy_(value)
            direct = float(twin.loss.mean(twin.module(inputs), labels))
        finally:
            for name, value in kept.items():
                own[name].copy_(value)
    if np.isfinite(direct) and not abs(_loss(at, at.weights) - direct) <= SYMMETRY * abs(direct):
        raise _Refused(
            "its loss does not follow from its parameters as they are named; weights are kept elsewhere, "
            "too, or something inside is random"
        )


def _loss(at: LossHessian, weights: Tensor) -> float:
    with at.twin.limited(len(at.index)):
        return float(sum(float(at.loss(weights.clone().requires_grad_(), p).detach()) for p in at.pieces()))


def _moved(at: LossHessian, d: Tensor, step: float) -> Iterator[LossHessian]:
    for sign in (1, -1):
        yield LossHessian(at.twin, at.weights + sign * step * d, at.beside, at.index)


def _is_a_derivative(at: LossHessian) -> None:
    gradient, rng = torch.from_numpy(at.gradient()), np.random.default_rng(2)
    value, seen = _loss(at, at.weights), []
    if not (np.isfinite(value) and np.isfinite(gradient.numpy()).all()):
        raise _Refused(f"its loss is {value:g} near the start, or its gradient is not finite")
    for _ in range(3):
        d = _direction(at.twin.layout, at.weights, rng)
        ahead, behind = (_loss(near, near.weights) for near in _moved(at, d, SHORT))
        slope, said = (ahead - behind) / (2 * SHORT), float(gradient @ d.cpu())
        size = float((gradient * d.cpu()).norm())
        rounding = 100 * np.finfo(float).eps * abs(value) / SHORT
        if not abs(slope - said) <= SLOPE * max(size, abs(slope)) + rounding:
            seen.append((slope, said))
    if len(seen) > 1:
        slope, said = seen[0]
        raise _Refused(
            "its gradient is not the derivative of its loss (along a random direction the loss has the slope "
            f"{slope:.6g}, the gradient says {said:.6g}); something inside has a gradient of its own, "
            "or is not in double precision"
        )


def _is_symmetric(at: LossHessian | GaussNewton, what: str = "its second derivatives are") -> None:
    rng = np.random.default_rng(3)
    u, v = (_direction(at.twin.layout, at.weights, rng).cpu().numpy() for _ in range(2))
    hu, hv = (at.matvec(d[:, None])[:, 0] for d in (u, v))
    if not (np.isfinite(hu).all() and np.isfinite(hv).all()):
        raise _Refused(f"{what} not finite")
    # Entries of their own sizes: errors of each product are relative to what is multiplied.
    size = max(np.linalg.norm(u * hv), np.linalg.norm(v * hu))
    if not abs(u @ hv - v @ hu) <= SYMMETRY * size:
        raise _Refused(
            f"{what} not symmetric (u·Hv = {u @ hv:.12g}, v·Hu = {v @ hu:.12g} for "
            "random u, v); an operation has a wrong second derivative, or computes in single precision"
        )


def _is_the_slope(at: LossHessian) -> None:
    layout, rng = at.twin.layout, np.random.default_rng(4)
    wrong = {block.name: block for block in layout.blocks}
    sizes = at.gradient()
    for step in STEPS:
        d = _direction(layout, at.weights, rng)
        product = at.matvec(d.cpu().numpy()[:, None])[:, 0]
        ahead, behind = (near.gradient() for near in _moved(at, d, step))
        slope = (ahead - behind) / (2 * step)
        whole = np.linalg.norm(slope)
        for name, block in list(wrong.items()):
            own = slice(block.start, block.stop)
            error, size = np.linalg.norm((product - slope)[own]), np.linalg.norm(slope[own])
            rounding = 100 * np.finfo(float).eps * np.linalg.norm(sizes) / step
            if error <= CURVATURE * size + 1e-2 * CURVATURE * whole + rounding:
                del wrong[name]
        if not wrong:
            return
    names = ", ".join(list(wrong)[:3]) + (", …" if len(wrong) > 3 else "")
    raise _Refused(
        f"its second derivatives by {shortened(names)} are not those of its loss: they differ from the slope "
        "of the gradient"
    )


def _choose_pieces(at: LossHessian) -> None:
    """Let the twin take examples in parts only where their losses add up to that of all."""
    if len(at.index) < 2:
        return
    third = max(1, len(at.index) // 3)
    parts = [LossHessian(at.twin, at.weights, at.beside, p) for p in (at.index[:third], at.index[third:])]
    values = [_loss(part, at.weights) * len(part.index) / len(at.index) for part in parts]
    whole = _loss(at, at.weights)
    at.twin.additive = abs(sum(values) - whole) <= SYMMETRY * max(abs(v) for v in (*values, whole))


def _choose_batches(at: LossHessian) -> None:
    """Let the twin take many vectors at once only where torch can."""
    twin = at.twin
    if not twin.batched:
        return
    with twin.limited(len(at.index)):
        leaf = at.weights.clone().requires_grad_()
        loss = at.loss(leaf, at.index)
        (slope,) = torch.autograd.grad(loss, leaf, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            return
        rows = torch.stack([torch.ones_like(leaf), torch.arange(len(leaf)).to(leaf)])
        single = torch.cat([products(slope, leaf, row[None]) for row in rows])
        try:
            both = products(slope, leaf, rows)
        except FOREIGN:
            # Not every operation can be taken along vectors: one after the other gives the same.
            twin.batched = False
            return
        twin.batched = bool(torch.linalg.norm(both - single) <= SYMMETRY * torch.linalg.norm(single))
