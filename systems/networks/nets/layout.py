"""A module's trainable weights as one vector, and what it holds beside them.

The degrees of freedom are the trainable parameters alone, in the order of ``module.parameters()``. Beside
them stand frozen parameters, which never change but are each replica's own, and buffers, such as the running
mean and variance of batch-norm, which follow from the weights and the batches seen. Both are part of the
state, not degrees of freedom.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from langevin.errors import UserError

#: Global generators are one for all threads of the process.
_GENERATORS = threading.RLock()
#: How often they have changed hands.
_turns = [0]


@dataclass(frozen=True)
class Block:
    """Where one parameter stands in the vector."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """One past its last element."""
        return self.start + math.prod(self.shape)


class Layout:
    """How the trainable parameters of a module lie in a vector of M numbers.

    Parameters
    ----------
    module : Module
        Any copy of the network.
    """

    def __init__(self, module: nn.Module) -> None:
        self.blocks: list[Block] = []
        start = 0
        for name, parameter in module.named_parameters():
            if parameter.is_inference():
                raise UserError(
                    f"system: {type(module).__name__}: {name} is of inference mode, and cannot descend; "
                    "allowed: modules that are built outside of torch.inference_mode"
                )
            if parameter.requires_grad:
                self.blocks.append(Block(name, tuple(parameter.shape), start))
                start += parameter.numel()
        self.dof = start
        self.names = [block.name for block in self.blocks]
        self.places = places(module)

    def views(self, x: Tensor) -> list[Tensor]:
        """Return the parameters as views of x, shape (M,); of x with shape (R, M), stacked over R."""
        lead = x.shape[:-1]
        return [x[..., b.start : b.stop].view((*lead, *b.shape)) for b in self.blocks]

    def call(
        self,
        module: nn.Module,
        weights: Sequence[Tensor],
        inputs: Tensor,
        others: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the outputs of a module with other tensors in the place of its weights.

        torch's own way to replace a tensor in all its places leaves the other one behind in a layer that the
        module holds twice; so each place is named here, once.

        Parameters
        ----------
        module : Module
        weights : sequence of Tensor
            As `views` returns them.
        inputs : Tensor
        others : mapping, optional
            Name → what takes the place of frozen parameters and buffers.
        """
        named = {**dict(zip(self.names, weights, strict=True)), **(others or {})}
        everywhere = {place: t for name, t in named.items() for place in self.places[name]}
        found: Tensor = functional_call(module, everywhere, (inputs,), tie_weights=False)
        return found

    def flat(self, tensors: list[Tensor]) -> Tensor:
        """Join parameters, or their gradients, to a vector of shape (M,)."""
        return torch.cat([t.reshape(-1) for t in tensors])

    def of(self, module: nn.Module) -> Tensor:
        """Return a copy of the module's trainable parameters, shape (M,)."""
        return self.flat([p.detach() for p in module.parameters() if p.requires_grad])


def places(module: nn.Module) -> dict[str, list[str]]:
    """Return for each parameter and buffer the names under which layers hold it, each layer once."""
    found: dict[str, list[str]] = {}
    first: dict[int, str] = {}
    for prefix, layer in module.named_modules():
        for key, t in [*layer._parameters.items(), *layer._buffers.items()]:
            if t is not None:
                name = f"{prefix}.{key}" if prefix else key
                found.setdefault(first.setdefault(id(t), name), []).append(name)
    return found


def beside(module: nn.Module) -> dict[str, Tensor]:
    """Return what a module holds beside its weights, by name: frozen parameters, then buffers.

    These are the tensors that it holds now; a forward pass may put others in the place of buffers.
    """
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return {**frozen, **dict(module.named_buffers())}


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return copies of tensors, without a history."""
    return [t.detach().clone() for t in tensors]


def put(module: nn.Module, values: Sequence[Tensor]) -> None:
    """Write these values to what the module holds beside its weights, in the order of `beside`."""
    with torch.no_grad():
        for own, value in zip(beside(module).values(), values, strict=True):
            own.copy_(value)


def converted(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Bring a module to a device and a precision, in place; complex tensors stay complex."""
    for name, t in [*module.named_parameters(), *module.named_buffers()]:
        if nn.parameter.is_lazy(t):
            raise UserError(
                f"system: {type(module).__name__}: {name} has no shape yet; allowed: layers with sizes, none "
                "that are lazy"
            )
    complex_type = torch.complex64 if dtype == torch.float32 else torch.complex128

    def convert(t: Tensor) -> Tensor:
        if t.is_complex():
            made = t.to(device, complex_type)
        else:
            made = t.to(device, dtype if t.is_floating_point() else None)
        # What is written to needs a place of memory for each number.
        return made.contiguous() if 0 in made.stride() else made

    moved: nn.Module = module._apply(convert)  # type: ignore[no-untyped-call]
    return moved


def packed(tensors: Sequence[Tensor]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the numbers of tensors of any types as one vector; of complex ones real and imaginary parts."""
    parts = []
    for t in tensors:
        t = t.detach().cpu().resolve_conj().resolve_neg()
        real = torch.view_as_real(t) if t.is_complex() else t
        parts.append(real.reshape(-1).double().numpy())
    return np.concatenate([np.empty(0), *parts])


def unpacked(vector: np.ndarray[tuple[int], np.dtype[np.float64]], like: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors of the types and shapes of others, from the numbers that `packed` made of them."""
    rest, made = torch.from_numpy(np.array(vector)), []
    for t in like:
        size = t.numel() * (2 if t.is_complex() else 1)
        own, rest = rest[:size], rest[size:]
        whole = torch.view_as_complex(own.reshape(*t.shape, 2)) if t.is_complex() else own.reshape(t.shape)
        made.append(whole.to(t.device, t.dtype))
    return made


def transposed(module: nn.Module) -> set[str]:
    """Return the names of parameters whose outputs are along their second axis."""
    layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.modules.conv._ConvTransposeNd)]
    return {f"{name}.weight" if name else "weight" for name, _ in layers}


def multiplications(module: nn.Module, inputs: Tensor) -> int:
    """Return roughly how many multiplications one example costs in the layers that have weights.

    Each element of a layer's weight, (outputs, …), is used once for every place of its output.
    """
    counted: list[int] = []

    def count(layer: nn.Module, _: object, output: object) -> None:
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor) and isinstance(output, Tensor) and weight.ndim > 1:
            counted.append(weight.numel() * output.numel() // (weight.shape[0] * len(inputs)))

    # A scripted layer takes no hooks.
    layers = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module with the global generators of torch, numpy and Python at `seed`.

    Their states elsewhere are left as they were. The module is built on the CPU, so that a seed means the
    same start on every device.
    """
    with kept_generators():
        sow(seed)
        return build()


def sow(seed: int) -> None:
    """Set the global generators of torch, numpy and Python to a seed."""
    # Not torch.manual_seed: it keeps the seed, with the stack of calls, for each kind of device that has not
    # begun. That takes as long as to build a small network, and is never forgotten.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(8))  # noqa: NPY002
    random.seed(seed)


def generators() -> tuple[object, ...]:
    """Return the states of the global generators of torch, numpy and Python, to be compared."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    _, key, *rest = np.random.get_state()  # noqa: NPY002
    drawn = tuple(state.numpy().tobytes() for state in states)
    return *drawn, np.asarray(key).tobytes(), tuple(rest), random.getstate()


@contextmanager
def undrawn(name: str) -> Iterator[None]:
    """Make sure that nothing in the block draws from the global generators.

    Where another thread had them meanwhile, nobody can tell. Raises `UserError`.
    """
    before, turn = generators(), _turns[0]
    yield
    if _turns[0] == turn and generators() != before:
        raise UserError(
            f"system: {name}, or its loss, draws random numbers, though not from the start; allowed: what "
            "follows from weights, buffers and inputs alone (set the probability of dropout to 0)"
        )


@contextmanager
def kept_generators() -> Iterator[None]:
    """Leave the global generators of torch, numpy and Python behind as they are found, and to this thread."""
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with _GENERATORS:
        _turns[0] += 1
        yield from _kept(list(range(torch.cuda.device_count())) if begun else [])


def _kept(devices: list[int]) -> Iterator[None]:
    drawn, uniform = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(drawn)  # noqa: NPY002
            random.setstate(uniform)
