"""Whether processes may share the batches of a network: tried before a run, in numbers.

What a batch gives has to be what its parts give together: loss, gradient, and what moves beside the weights.
A few examples, as few as leave parts of different sizes, go through the network in this process alone, and
then shared. The two differ by roundings, unless something mixes the examples of a batch in a way of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from langevin.errors import UserError
from langevin.machine.world import World

from ..descent.training import Alone
from ..nets.joint_norms import joint, norms_of
from ..nets.layout import beside, kept_generators
from ..replicas.divided import Divided
from .trial import Trial, attempting

if TYPE_CHECKING:
    from .on_trial import OnTrial

#: Part of their size by which two gradients may differ. Roundings of double precision leave 10⁻¹³ of nets
#: with a hundred layers, those of single precision 10⁻⁵, and 10⁻³ where a unit within rounding of the kink of
#: ReLU passes to the other side. What mixes examples leaves a part of the order of 1.
APART = {torch.float64: 1e-9}
COARSE = 1e-2


def tried_division(system: OnTrial, world: World) -> None:
    """Make sure that a batch is what its parts in several processes are together.

    Raises
    ------
    UserError
        If it is not; it names the layer that mixes examples.
    """
    label, name = int(system.ensemble.replica[0]), type(system.modules[0]).__name__
    index = system.few_examples(2 * world.size + 1)[None]
    with kept_generators(), attempting(name, "a batch that processes share"):
        whole = Alone(_moved(system, system.built(label), name), system.problem)
        shared = Divided(_moved(system, system.built(label), name), system.problem, world)
        for unit in (whole, shared):
            unit.bind(system.layout.of(unit.module)[None])
        pairs = zip(_given(whole, index), _given(shared, index), strict=True)
        differ = [what for (what, a), (_, b) in pairs if not _same(a, b)]
        # Parts of some processes may be alike by chance.
        differs = next((what for what in world.gathered(differ[0] if differ else "") if what), "")
        words = world.gathered(_mixing(whole, shared, index[0])) if differs else []
    if differs:
        layer = next((layer for layer in words if layer), "")
        said = f"{layer} mixes" if layer else f"{differs} is not that of parts: it mixes"
        raise UserError(
            f"torchrun, {world.size} processes: system: {name}: {said} the examples of a batch, which "
            "processes share; start it without torchrun"
        )


def _moved(system: OnTrial, module: nn.Module, name: str) -> nn.Module:
    """Return a module with its weights moved a little, the same in all processes."""
    return Trial(module, system.layout, system.train.gather(system.few_examples(2))[0], name).module


def _given(unit: Alone, index: Tensor) -> list[tuple[str, Tensor]]:
    """Return what a batch gives, and what of it that is."""
    loss, gradient = unit.gradient(index)
    moving = [(n, t.clone()) for n, t in beside(unit.module).items() if n in unit.problem.traits.moving]
    return [("its loss", loss), ("its gradient", unit.layout.flat(gradient)), *moving]


def _same(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    size = float(torch.linalg.vector_norm(a.double()))
    apart = float(torch.linalg.vector_norm((a - b).double()))
    # NaN is no answer of either.
    return not apart > APART.get(a.dtype, COARSE) * size


def _mixing(whole: Alone, shared: Divided, index: Tensor) -> str:
    """Return which layer gives other outputs for examples in a part of their batch; "" if none does."""
    own = shared.world.part(len(index))
    with torch.no_grad():
        of_whole = _outputs(whole.module, whole.gather(index)[0])
        with joint(norms_of(shared.module), shared.world):
            of_part = _outputs(shared.module, shared.gather(index[own])[0])

    def rows_differ(a: Tensor, b: Tensor) -> bool:
        alike = (
            a.ndim and a.shape[1:] == b.shape[1:] and (len(a), len(b)) == (len(index), own.stop - own.start)
        )
        return bool(alike) and not _same(a[own], b)

    for (layer, given, a), (_, taken, b) in zip(of_whole, of_part, strict=False):
        # Who is given other inputs is not to blame.
        if rows_differ(a, b) and not any(rows_differ(*pair) for pair in zip(given, taken, strict=False)):
            return layer
    return ""


def _outputs(module: nn.Module, inputs: Tensor) -> Sequence[tuple[str, list[Tensor], Tensor]]:
    """Return what each layer is given and gives, in the order in which they have computed it."""
    passes: list[tuple[str, list[Tensor], Tensor]] = []

    def keep(words: str) -> Any:
        def hook(_: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                # Copies: a layer that comes may work in place.
                tensors = [t.detach().clone() for t in given if isinstance(t, Tensor)]
                passes.append((words, tensors, output.detach().clone()))

        return hook

    layers = [(n, m) for n, m in module.named_modules() if not isinstance(m, torch.jit.ScriptModule)]
    hooks = [m.register_forward_hook(keep(f"{n} ({type(m).__name__})" if n else "it")) for n, m in layers]
    try:
        module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return passes
