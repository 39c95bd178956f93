"""A module and a few examples: what a pass forward and backward leaves, and whether it is the same again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from langevin.errors import FOREIGN, LangevinError, UserError, first_line

from ..kernels.pointwise import protected
from ..nets.layout import Layout, beside, copies, generators, put, sow
from . import remnants

#: Relative differences in single precision; in double precision they are smaller by `FINER`.
SAME, EQUAL, FINER = 2e-6, 1e-4, 1e-7
#: By which part of their size, and by this part of 1 at least, weights are moved.
MOVED = 0.1


@contextmanager
def attempting(name: str, what: str) -> Iterator[None]:
    """Turn what foreign code raises into one line that says what was tried."""
    try:
        yield
    except (LangevinError, torch.OutOfMemoryError):
        raise
    except FOREIGN as error:
        raise UserError(f"system: {name}: {what} fails: {first_line(error)}") from None


def both_nan(a: Tensor, b: Tensor) -> bool:
    """Return whether tensors are the same where they are numbers."""
    return a.is_floating_point() and torch.equal(a.nan_to_num(), b.nan_to_num())


def tensors_of(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return all parameters and buffers, by name."""
    return [*((n, p.detach()) for n, p in module.named_parameters()), *module.named_buffers()]


@dataclass(frozen=True)
class Passed:
    """What a pass through a module leaves.

    Attributes
    ----------
    outputs : Tensor
    gradients : list of Tensor
        None of a pass without a way back.
    after : dict of Tensor
        What stands beside the weights then.
    reassigned : bool
        Whether other tensors have taken the place of buffers.
    """

    outputs: Tensor
    gradients: list[Tensor]
    after: dict[str, Tensor]
    reassigned: bool


def weighed(outputs: Tensor) -> Tensor:
    """Return a number that all outputs enter, each example's with the same weights; it stands for a loss."""
    rows = outputs.flatten(1)
    rows = rows.float() if rows.dtype.itemsize < 4 else rows
    weights = torch.cos(torch.arange(1.0, 1.0 + rows.shape[1], dtype=rows.dtype, device=rows.device))
    return (rows * weights).sum()


class Trial:
    """A module and a few examples.

    Parameters
    ----------
    module : Module
        To be tried. Its weights are moved a little: what a net does may not show where weights are 0.
    layout : Layout
    inputs : Tensor
        Of a few examples.
    name : str
        What the module is called in a fault.
    """

    def __init__(self, module: nn.Module, layout: Layout, inputs: Tensor, name: str) -> None:
        self.module, self.layout, self.inputs, self.name = module, layout, inputs, name
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.weights = layout.of(module)
        sow(0)
        with torch.no_grad():
            for parameter, row in zip(self.parameters, layout.views(self.weights), strict=True):
                # Drawn on the host, whose generator is sown.
                width = float(MOVED * (row.square().mean().sqrt() + MOVED))
                row += (width * torch.randn(row.shape)).to(row)
                parameter.copy_(row)
        #: What the first pass left, in evaluation and in training mode.
        self.first: dict[bool, Passed] = {}
        self.names, self.start = list(beside(module)), copies(list(beside(module).values()))
        self.finer = FINER if inputs.dtype == torch.float64 or self.weights.dtype == torch.float64 else 1.0

    def fault(self, words: str) -> UserError:
        """Return what is said of the module."""
        return UserError(f"system: {self.name} {words}")

    def close(self, a: Tensor, b: Tensor, tolerance: float) -> bool:
        """Return whether tensors are the same, but for roundings; NaN is the same as NaN."""
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if not (a.is_floating_point() or a.is_complex()):
            return torch.equal(a, b)
        a, b = a.detach(), b.detach()
        known = torch.isfinite(a) & torch.isfinite(b)
        if not torch.equal(torch.isnan(a), torch.isnan(b)):
            return False
        if not bool(known.any()):
            return True
        largest = float(torch.maximum(a[known].abs().max(), b[known].abs().max()))
        return float((a - b)[known].abs().max()) <= tolerance * self.finer * largest

    def all_close(self, a: Sequence[Tensor], b: Sequence[Tensor], tolerance: float) -> bool:
        """Return whether this holds of all pairs; gradients are measured by the largest of all."""
        rows = [torch.cat([t.detach().reshape(-1) for t in some]) for some in (a, b)]
        return self.close(rows[0], rows[1], tolerance)

    def forward(self, inputs: Tensor, values: Sequence[Tensor] | None = None) -> Tensor:
        """Return the outputs, from what stands beside the weights at the start, or from other values."""
        put(self.module, self.start if values is None else values)
        with torch.no_grad(), attempting(self.name, f"a forward pass of {len(inputs)} examples"):
            outputs: Tensor = self.module(inputs.clone())
        return outputs

    def passed(self, seed: int, backward: bool) -> Passed:
        """Return what a pass forward, and perhaps backward, leaves, with the global generators at a seed.

        Raises
        ------
        UserError
            If it draws from them, changes weights, or what stands beside them is no longer of its kind.
        """
        put(self.module, self.start)
        sow(seed)
        before, buffers = generators(), list(self.module.buffers())
        mode, gradients = "training" if self.module.training else "evaluation", list[Tensor]()
        way = "forward and backward" if backward else "forward"
        with attempting(self.name, f"a pass {way} of {len(self.inputs)} examples, in {mode} mode"):
            # Branches that only training takes may need it.
            with torch.set_grad_enabled(backward), protected(self.module):
                outputs = self.module(self.inputs.clone())
            if backward:
                own = torch.autograd.grad(weighed(outputs), self.parameters, materialize_grads=True)
                gradients = list(own)
        if generators() != before:
            raise self.fault(
                f"draws random numbers in a forward pass, in {mode} mode; allowed: modules whose output "
                "follows from weights, buffers and inputs alone (set the probability of dropout to 0)"
            )
        self._require_weights()
        after = beside(self.module)
        self._require_kinds(after)
        kept = {name: value.detach().clone() for name, value in after.items()}
        pairs = zip(buffers, self.module.buffers(), strict=True)
        return Passed(outputs.detach(), gradients, kept, any(a is not b for a, b in pairs))

    def _require_weights(self) -> None:
        """Make sure that a pass has left the weights, and where they lie, as they were."""
        now = [p for p in self.module.parameters() if p.requires_grad]
        same = len(now) == len(self.parameters) and all(
            a is b for a, b in zip(now, self.parameters, strict=True)
        )
        rows = self.layout.views(self.weights)
        if not same or not all(torch.equal(p, row) for p, row in zip(now, rows, strict=True)):
            raise self.fault(
                "changes its trainable parameters in a forward pass; allowed: modules that leave them to the "
                "step (what follows from them can be computed in the pass, or be a buffer)"
            )

    def _require_kinds(self, after: dict[str, Tensor]) -> None:
        """Make sure that what stands beside the weights has kept its names, types and shapes."""
        names = list(after)
        if names != self.names:
            changed = sorted(set(names) ^ set(self.names)) or names
            raise self.fault(
                f"has other buffers after a forward pass ({', '.join(changed)}); allowed: buffers that are "
                "there from the start"
            )
        for (name, now), then in zip(after.items(), self.start, strict=True):
            if now.requires_grad:
                raise self.fault(
                    f"leaves a history in the buffer {name}; allowed: {name} assigned from .detach()"
                )
            if now.shape != then.shape or now.dtype != then.dtype:
                kinds = [f"{t.dtype} of shape {tuple(t.shape)}".removeprefix("torch.") for t in (then, now)]
                raise self.fault(
                    f"makes of the buffer {name}, {kinds[0]}, {kinds[1]}; allowed: what keeps its kind"
                )

    def require_repeatable(self, training: bool) -> None:
        """Make sure that a pass depends on nothing but weights, buffers and inputs."""
        self.module.train(training)
        first = self.first[training] = self.passed(0, backward=True)
        # What the first pass has made, such as a mask for these inputs, may stay.
        kept = remnants.attributes(self.module)
        again = self.passed(1, backward=False)
        changed = remnants.changed(kept, remnants.attributes(self.module))
        if changed:
            raise self.fault(
                f"keeps {changed} from one forward pass to the next, which is no buffer; allowed: "
                "register_buffer, for what has to last"
            )
        pairs = zip(again.after.values(), first.after.values(), strict=True)
        if not all(self.close(a, b, SAME) for a, b in ((again.outputs, first.outputs), *pairs)):
            raise self.fault(
                "gives other outputs for the same weights, buffers and inputs; allowed: modules "
                "without a memory or random numbers of their own"
            )
        if not training:
            moved = self._moved(first.after)
            if moved:
                raise self.fault(
                    f"changes the buffer {moved[0]} in evaluation mode; allowed: buffers that change in "
                    "training mode alone"
                )

    def _moved(self, after: dict[str, Tensor]) -> list[str]:
        pairs = zip(after.items(), self.start, strict=True)
        return [n for (n, now), then in pairs if not torch.equal(now, then) and not both_nan(now, then)]

    def require_independent(self, unlike: Tensor) -> None:
        """Make sure that in evaluation mode the output of an example does not depend on its companions.

        Parameters
        ----------
        unlike : Tensor
            The first example, with other companions.
        """
        self.module.eval()
        whole = self.first[False].outputs
        alone = [(self.inputs[k : k + 1], whole[k : k + 1]) for k in range(len(whole))]
        for inputs, expected in (*alone, *self._in_company(unlike, whole)):
            outputs = self.forward(inputs)[: len(expected)]
            if not self.close(outputs, expected, EQUAL):
                shapes = f", of shape {tuple(outputs.shape)}" if outputs.shape != expected.shape else ""
                raise self.fault(
                    f"gives other outputs{shapes} for an example in other company, in evaluation mode, too; "
                    "allowed: modules that couple the examples of a batch in training mode alone (batch-norm "
                    "with running statistics)"
                )

    def _in_company(self, unlike: Tensor, outputs: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return batches in which examples have other companions, and what the first outputs would be."""
        batches = [(self.inputs.flip(0), outputs.flip(0)), (unlike, outputs[:1])]
        if len(self.inputs) > 2:
            turned = torch.cat([self.inputs[1:], self.inputs[:1]])
            last = torch.cat([self.inputs[:1], self.inputs[-1:].expand_as(self.inputs[1:])])
            batches += [(turned, torch.cat([outputs[1:], outputs[:1]])), (last, outputs[:1])]
        return batches

    def require_transplanted(self, other: nn.Module) -> None:
        """Make sure that a module of another seed is the same with all tensors of this one."""
        same = [n for n, _ in other.named_parameters()] == [n for n, _ in self.module.named_parameters()]
        shapes = [[t.shape for _, t in tensors_of(m)] for m in (self.module, other)]
        if not same or shapes[0] != shapes[1] or list(beside(other)) != list(beside(self.module)):
            raise self.fault(remnants.ONE_STRUCTURE)
        self.write(other, self.weights)
        for training in (False, True):
            other.train(training)
            put(other, self.start)
            with torch.no_grad():
                outputs = other(self.inputs.clone())
            if not self.close(outputs, self.first[training].outputs, SAME):
                raise self.fault(
                    "has something beside parameters and buffers that the seed draws, so that its weights do "
                    "not say what it is; allowed: register_buffer, or a parameter with requires_grad = False"
                )

    def require_forgetful(self, fresh: nn.Module) -> None:
        """Make sure that nothing is kept of weights that have been left.

        Parameters
        ----------
        fresh : Module
            Of which no pass has been asked yet.
        """
        weights, outputs = 0.5 * self.weights, []
        for module in (self.module, fresh):
            self.write(module, weights)
            put(module, self.start)
            module.eval()
            with torch.no_grad():
                outputs.append(module(self.inputs.clone()))
        self.write(self.module, self.weights)
        if not self.close(outputs[0], outputs[1], SAME):
            raise self.fault(
                "keeps something of weights that have been left, such as a cache, so that a resumed run "
                "would differ; allowed: modules that compute it in each pass, or a buffer"
            )

    @torch.no_grad()
    def write(self, module: nn.Module, weights: Tensor) -> None:
        """Write weights, shape (M,), to the trainable parameters of a module of this kind."""
        own = [p for p in module.parameters() if p.requires_grad]
        for parameter, row in zip(own, self.layout.views(weights), strict=True):
            parameter.copy_(row)

    def training_traits(self, unlike: Tensor) -> dict[str, Any]:
        """Return what a forward pass in training mode changes, and what depends on that.

        Parameters are those of `require_independent`.
        """
        self.module.train()
        first = self.first[True].outputs
        moving = self._moved(self.first[True].after)
        memory, couples = set[str](), False
        for inputs, expected in self._in_company(unlike, first):
            couples |= not self.close(self.forward(inputs)[: len(expected)], expected, SAME)
            later = copies(list(beside(self.module).values()))
            if moving and not memory and not self.close(self.forward(self.inputs, later), first, SAME):
                memory = self._memory(moving, later, first)
        put(self.module, self.start)
        return {
            "couples": couples,
            "modal": not couples and not self.close(first, self.first[False].outputs, SAME),
            "moving": frozenset(moving),
            "memory": frozenset(memory),
            "reassigns": self.first[True].reassigned,
        }

    def _memory(self, moving: list[str], later: list[Tensor], first: Tensor) -> set[str]:
        """Return the buffers on which the outputs depend, each for itself; all, if it is none for itself."""
        needed = set()
        for name in moving:
            triples = zip(self.names, self.start, later, strict=True)
            values = [then if key == name else start for key, start, then in triples]
            if not self.close(self.forward(self.inputs, values), first, SAME):
                needed.add(name)
        return needed or set(moving)

    def require_single(self) -> None:
        """Make sure that a batch of one example can be learned from, where there may be such batches."""
        self.module.train()
        put(self.module, self.start)
        try:
            with torch.no_grad():
                self.module(self.inputs[:1].clone())
        except FOREIGN as error:
            raise self.fault(
                f"takes no batch of one example in training mode ({first_line(error)}); allowed: "
                'dynamics.batch_size ≥ 2 with dynamics.batches = "epochs", "iid" or "full"'
            ) from None
