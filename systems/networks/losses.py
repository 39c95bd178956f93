"""Losses: any of torch.nn.functional by name, or the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from langevin.errors import UserError

from .factories import loss_function

#: Of these −loss is the logarithm of the right class's probability.
LOGARITHMIC = ("cross_entropy", "nll_loss")

#: These compare with the class's index; all others with a one-hot vector.
BY_INDEX = ("cross_entropy", "nll_loss", "multi_margin_loss")


class Loss:
    """A loss per example and its mean, from a network's outputs (B, K) and labels (B,).

    The squared error is the mean over the K outputs, as in torch.

    Parameters
    ----------
    name : str
        A function of torch.nn.functional that takes `reduction`: those for classification get the labels,
        others one-hot vectors. Or "package.module:function" with the arguments (outputs, labels, reduction).
    classes : int
        Length K of the one-hot vectors.
    """

    def __init__(self, name: str, classes: int) -> None:
        self.name = name
        self.classes = classes
        self._function = find_loss(name)
        self._by_index = name in BY_INDEX or ":" in name

    @property
    def gives_probabilities(self) -> bool:
        """Whether outputs that it is made for say the probabilities of the classes."""
        return self.name in LOGARITHMIC

    def _target(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self._by_index:
            return labels
        # one_hot of torch reads values, which torch.func does not allow.
        return (labels[..., None] == torch.arange(self.classes, device=labels.device)).to(outputs.dtype)

    def mean(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch, a scalar."""
        found: Tensor = self._function(outputs, self._target(outputs, labels), reduction="mean")
        return found

    def each(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example, shape (B,)."""
        found: Tensor = self._function(outputs, self._target(outputs, labels), reduction="none")
        return found if found.ndim == 1 else found.flatten(1).mean(1)


def find_loss(name: str, near: Path | None = None) -> Callable[..., Any]:
    """Return the function that `system.loss` names; a user's own is looked for in the folder `near`, too.

    Raises
    ------
    UserError
        If there is none that is a loss.
    """
    found = loss_function(name, near) if ":" in name else getattr(F, name, None)
    if not callable(found) or "reduction" not in _arguments(found):
        raise UserError(
            f"system.loss = {name!r}: allowed: a loss of torch.nn.functional with the argument reduction, "
            'such as cross_entropy or mse_loss, or your own "package.module:function"'
        )
    return found


def _arguments(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's arguments; none of a compiled one, which does not say them."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the number of examples whose largest output is their class's, a scalar."""
    return torch.count_nonzero(outputs.argmax(-1) == labels)
