r"""Optimisers make steps of gradients: an object each, with its keys, its named slots, and its rule.

With g the gradient of a mini-batch's loss, weight decay included, and α the rate of the step:

    sgd        v ← μ v + g,    w ← w − α v
    nesterov   v ← μ v + g,    w ← w − α (g + μ v)
    adam       m ← β₁ m + (1 − β₁) g,    s ← β₂ s + (1 − β₂) g²,    n ← n + 1,
               w ← w − α m̂/(√ŝ + ε),    m̂ = m/(1 − β₁ⁿ),    ŝ = s/(1 − β₂ⁿ)
    adamw      w ← (1 − α λ) w, then adam with a g that holds no decay
    rmsprop    s ← ρ s + (1 − ρ) g²,    v ← μ v + g/(√s + ε),    w ← w − α v

They are torch.optim.SGD, Adam, AdamW and RMSprop, to rounding. Kingma and Ba, arXiv:1412.6980; Loshchilov and
Hutter, arXiv:1711.05101; Hinton, Neural networks for machine learning, lecture 6 (2012).

A slot holds what an optimiser remembers of earlier gradients: a number for each weight, such as the velocity
v, or one for each parameter tensor, such as the number n of its steps. Slots begin as zeros. They are part of
the state: checkpoints hold them, and nothing but the optimiser knows their names.

Torch is imported when the first step is taken: run files are checked without it.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from langevin.config import registry
from langevin.config.keys import Section, key
from langevin.errors import UserError, shortened
from langevin.machine.later import later

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = later("torch")

#: What a slot has a number for.
Each = Literal["weight", "tensor"]
#: Slot → its numbers for every parameter tensor, in the order of the weights: of the shape of the weights, or
#: of a shape that broadcasts to it.
Slots = Mapping[str, list["Tensor"]]

#: The optimiser of a run file that names none.
DEFAULT = "sgd"
#: One line for each optimiser. Others join through the entry-point group "langevin.optimisers".
BUILT_IN = {
    "sgd": f"{__name__}:SGD",
    "nesterov": f"{__name__}:Nesterov",
    "adam": f"{__name__}:Adam",
    "adamw": f"{__name__}:AdamW",
    "rmsprop": f"{__name__}:RMSprop",
}


class Optimiser(ABC):
    """How weights move, given gradients; a class derived from it says its keys, slots and rule.

    Parameters
    ----------
    parameters : Section
        Its `Parameters`, validated: they stand in the section [dynamics].
    """

    class Parameters(Section):
        """Keys of its own in [dynamics]."""

    #: Slot → whether it has a number for each weight, or for each parameter tensor.
    slots: Mapping[str, Each] = {}
    #: Whether weight decay acts on the weights beside the gradient, w ← (1 − α λ) w, not as a part of it.
    decouples: ClassVar[bool] = False
    #: Whether a step is linear in the gradients, so that a constant force moves the weights by α h for each.
    linear: ClassVar[bool] = False
    #: Whether the stationary weights are known of steps to which thermal noise is added (`training`).
    thermal: bool = False
    #: μ, if the rule is that of SGD, the one that kernels and captured steps know; None: it is another.
    kernel_momentum: float | None = None
    #: β₁, β₂, ε, if the rule is that of Adam, which a kernel knows, too; None: it is another.
    kernel_moments: tuple[float, float, float] | None = None

    def __init__(self, parameters: Any) -> None:
        self.parameters = parameters

    @abstractmethod
    def update(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor
    ) -> None:
        """Change weights and slots in place; the gradients may be overwritten.

        All weights share the rate, and all gradients hold their decay. Of several networks in one call each
        tensor has the networks along its first axis.

        Parameters
        ----------
        weights, gradients : list of Tensor
            One for each parameter.
        slots : mapping
            Slot → its numbers for these parameters.
        rate : float or Tensor of no dimension
        """

    def update_by_share(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor, share: float
    ) -> None:
        """Do what `update` does with so much of the gradients, which are left as they are."""
        self.update(weights, list(torch._foreach_mul(gradients, share)), slots, rate)

    def start(self, weights: Tensor, tensors: int) -> dict[str, Tensor]:
        """Return slots of zeros for networks of weights of shape (R, M), in so many tensors each."""
        shapes: dict[Each, Tensor] = {"weight": weights, "tensor": weights[:, :1].expand(-1, tensors)}
        return {name: torch.zeros_like(shapes[each]).contiguous() for name, each in self.slots.items()}


def subtract(weights: list[Tensor], steps: list[Tensor], rate: float | Tensor, share: float = 1.0) -> None:
    """Move weights in place by −α times so much of their steps."""
    if isinstance(rate, torch.Tensor):
        torch._foreach_add_(weights, torch._foreach_mul(steps, -rate * share))
    else:
        torch._foreach_add_(weights, steps, alpha=-rate * share)


def add_squares(slot: list[Tensor], gradients: list[Tensor], kept: float) -> None:
    """Keep a part of the mean squares in a slot, and add the squares of these gradients for the rest."""
    torch._foreach_mul_(slot, kept)
    torch._foreach_addcmul_(slot, gradients, gradients, 1 - kept)


class SGD(Optimiser):
    """Gradient descent, with momentum or without."""

    linear = True

    class Parameters(Section):
        """Keys of its own in [dynamics]."""

        momentum: float = key("momentum μ", default=0.0, ge=0, lt=1)

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self.kernel_momentum: float = parameters.momentum
        self.slots = {"velocity": "weight"} if parameters.momentum else {}
        self.thermal = not parameters.momentum

    def update(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor
    ) -> None:
        """Take a step."""
        self.update_by_share(weights, gradients, slots, rate, 1.0)

    def update_by_share(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor, share: float
    ) -> None:
        """Take a step of so much of the gradients; the kernels write it once more (`perceptron_kernels`)."""
        if self.kernel_momentum:
            velocities = slots["velocity"]
            torch._foreach_mul_(velocities, self.kernel_momentum)
            torch._foreach_add_(velocities, gradients, alpha=share)
            gradients, share = velocities, 1.0
        subtract(weights, gradients, rate, share)


class Nesterov(Optimiser):
    """Gradient descent with Nesterov's momentum."""

    linear = True
    slots: Mapping[str, Each] = {"velocity": "weight"}

    class Parameters(Section):
        """Keys of its own in [dynamics]."""

        momentum: float = key("momentum μ", default=0.9, gt=0, lt=1)

    def update(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor
    ) -> None:
        """Take a step."""
        momentum, velocities = self.parameters.momentum, slots["velocity"]
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, gradients)
        torch._foreach_add_(gradients, velocities, alpha=momentum)
        subtract(weights, gradients, rate)


def _two_betas(given: list[float]) -> list[float]:
    if len(given) != 2 or not all(0 <= beta < 1 for beta in given):
        raise ValueError("must be two numbers, 0 ≤ β < 1")
    return given


class Adam(Optimiser):
    """Adam: steps of the mean gradient over the root of the mean square, of each weight by itself."""

    slots: Mapping[str, Each] = {"first_moment": "weight", "second_moment": "weight", "steps": "tensor"}

    class Parameters(Section):
        """Keys of its own in [dynamics]."""

        betas: Annotated[list[float], AfterValidator(_two_betas)] = key(
            "parts β₁ and β₂ of the moments that a step keeps",
            default=[0.9, 0.999],
            kind="list of two numbers, 0 ≤ β < 1",
        )
        epsilon: float = key("what is added to the root of the second moment, ε", default=1e-8, gt=0)

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        if not self.decouples:
            self.kernel_moments = (*parameters.betas, parameters.epsilon)

    def update(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor
    ) -> None:
        """Take a step."""
        first, second, counts = slots["first_moment"], slots["second_moment"], slots["steps"]
        kept_first, kept_second = self.parameters.betas
        torch._foreach_add_(counts, 1.0)
        torch._foreach_mul_(first, kept_first)
        torch._foreach_add_(first, gradients, alpha=1 - kept_first)
        add_squares(second, gradients, kept_second)
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, torch._foreach_sqrt(_known_part(kept_second, counts)))
        torch._foreach_add_(roots, self.parameters.epsilon)
        steps = list(torch._foreach_div(first, _known_part(kept_first, counts)))
        torch._foreach_div_(steps, roots)
        subtract(weights, steps, rate)


def _known_part(kept: float, counts: list[Tensor]) -> list[Tensor]:
    """Return 1 − βⁿ for counts n ≥ 1: the part of a moment that gradients have filled.

    As −expm1(n ln β): of 1 − 0.999 single precision knows four digits.
    """
    exponents = torch._foreach_mul(counts, math.log(kept) if kept else -math.inf)
    torch._foreach_expm1_(exponents)
    torch._foreach_neg_(exponents)
    return list(exponents)


class AdamW(Adam):
    """Adam whose weight decay acts beside the gradient."""

    decouples = True


class RMSprop(Optimiser):
    """RMSprop: steps of the gradient over the root of its mean square, of each weight by itself."""

    class Parameters(Section):
        """Keys of its own in [dynamics]."""

        smoothing: float = key("part ρ of the mean square that a step keeps", default=0.99, ge=0, lt=1)
        epsilon: float = key("what is added to the root of the mean square, ε", default=1e-8, gt=0)
        momentum: float = key("momentum μ", default=0.0, ge=0, lt=1)

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        moving: dict[str, Each] = {"velocity": "weight"} if parameters.momentum else {}
        self.slots = {"mean_square": "weight", **moving}

    def update(
        self, weights: list[Tensor], gradients: list[Tensor], slots: Slots, rate: float | Tensor
    ) -> None:
        """Take a step."""
        add_squares(slots["mean_square"], gradients, self.parameters.smoothing)
        roots = torch._foreach_sqrt(slots["mean_square"])
        torch._foreach_add_(roots, self.parameters.epsilon)
        torch._foreach_div_(gradients, roots)
        if self.parameters.momentum:
            torch._foreach_mul_(slots["velocity"], self.parameters.momentum)
            torch._foreach_add_(slots["velocity"], gradients)
            gradients = slots["velocity"]
        subtract(weights, gradients, rate)


#: What `dynamics.optimiser` names.
OPTIMISER = registry.Kind(
    "optimiser", "dynamics.optimiser", "langevin.optimisers", BUILT_IN, {Optimiser: f"{__name__}.Optimiser"}
)


def named(name: str) -> type[Optimiser]:
    """Return the class of an optimiser: of ours, or of a user's "package.module:Class".

    Raises
    ------
    UserError
        If there is none, or it is no `Optimiser`.
    UnknownCode
        If a file names it that its user does not trust.
    """
    optimiser: type[Optimiser] = registry.load(shortened(name), kind=OPTIMISER)
    if not (isinstance(optimiser.Parameters, type) and issubclass(optimiser.Parameters, Section)):
        raise UserError(f"dynamics.optimiser = {name!r}: its Parameters must derive from langevin.Section")
    return optimiser


@functools.cache
def owners(name: str) -> list[str]:
    """Return which of our optimisers have a key of this name."""
    return [own for own in BUILT_IN if name in named(own).Parameters.model_fields]
