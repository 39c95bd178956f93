r"""Losses: any of torch.nn.functional that means something for the data, or the user's own.

A loss is *separable* if it is the mean over a batch of what each of its examples has alone. Class weights,
classes that are ignored, sums, contrasts between the examples of a batch and the like are not: such a loss is
a function of the whole batch, and nothing but that. `trial` finds out which it is, with real outputs; `whole`
says what is measured of one that is not.

What is compared, of outputs of shape (B, …):

class of each example, (B,)
    Outputs (B, K). `INDEX` losses get the labels, the others one-hot vectors, or ±1 (`SIGNED`). Losses of
    `margins` take outputs (B, 1) for two classes.
class at each position, (B, T)
    Outputs (B, T, K); as above, for every position. The loss of an example is the mean over its positions.
real numbers, (B, …), or the inputs themselves
    As many outputs, in the same order. `DOMAINS` says what the numbers may be.

A loss of the user's own gets outputs and labels (or inputs) as they are. Only outputs (B, 1) for labels (B,),
or the reverse, get the shape of the labels, since subtracting the two would give B² numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from langevin.errors import UserError

from . import margins
from .factories import loss_function
from .targets import Target

#: Of these −loss is the logarithm of the right class's probability.
LOGARITHMIC = ("cross_entropy", "nll_loss")

#: These compare with the class's index.
INDEX = ("cross_entropy", "nll_loss", "multi_margin_loss")
#: This one with +1 for the right class and −1 for the others.
SIGNED = ("soft_margin_loss",)
#: All that know classes: the others compare with one-hot vectors.
CLASSES = (
    *INDEX,
    *SIGNED,
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
    "poisson_nll_loss",
    "multilabel_soft_margin_loss",
)

#: None of these is ever below 0, whatever the outputs.
NON_NEGATIVE = (
    "cross_entropy",
    "multi_margin_loss",
    "soft_margin_loss",
    "multilabel_soft_margin_loss",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)

#: Those that know real numbers, or inputs → what these must be.
DOMAINS = {
    "mse_loss": "any",
    "l1_loss": "any",
    "smooth_l1_loss": "any",
    "huber_loss": "any",
    "poisson_nll_loss": "≥ 0",
    "binary_cross_entropy": "between 0 and 1",
    "binary_cross_entropy_with_logits": "between 0 and 1",
    "multilabel_soft_margin_loss": "between 0 and 1",
    "soft_margin_loss": "−1 or 1",
    "hinge_embedding_loss": "−1 or 1",
    "kl_div": "probabilities (≥ 0, of sum 1 along the last axis)",
    "cross_entropy": "probabilities (≥ 0, of sum 1 along the last axis)",
}

#: What else of torch.nn.functional has a reduction, and why it is no loss of outputs and labels.
OTHERS = {
    "cosine_embedding_loss": "it compares two inputs",
    "margin_ranking_loss": "it compares two inputs",
    "triplet_margin_loss": "it compares three inputs",
    "triplet_margin_with_distance_loss": "it compares three inputs",
    "gaussian_nll_loss": "it takes a variance, too",
    "ctc_loss": "it takes lengths, too",
    "linear_cross_entropy": "it takes weights, too",
    "multilabel_margin_loss": "it takes lists of classes; of one class it is multi_margin_loss",
}


#: Part by which the loss of a batch may differ from the mean of its examples, in single precision.
DRIFTED = 1e-3


class Loss:
    """The loss of a batch, and of each example, from a network's outputs and labels.

    The squared error is the mean over the outputs, as in torch.

    Parameters
    ----------
    name : str
        A function of torch.nn.functional that takes `reduction`, or "package.module:function" with the
        arguments (outputs, labels, reduction).
    classes : int
        Length K of the one-hot vectors; set to the number of outputs, if there are more of them.
    target : Target, optional
        What is compared; by default the class of each example.
    margin : float
        ε of a loss that asks for one (`margins`).

    Attributes
    ----------
    separable : bool
        Whether it is the mean over the examples of what each has alone; True until `trial` finds otherwise.

    Raises
    ------
    UserError
        If it is no loss, or none for such labels.
    """

    def __init__(self, name: str, classes: int, target: Target | None = None, margin: float = 1.0) -> None:
        self.name, self.classes, self.margin = name, classes, margin
        given = Target("class", (), classes) if target is None else target
        self.target = replace(given, signed=name in margins.SIGNED)
        self.separable = True
        self._function = find_loss(name)
        if self.signed:
            self._function = partial(self._function, margin=margin)
        #: Its name in torch.nn.functional, also of one that is named by its module; "" of the user's own.
        self.known = _known(name, self._function)
        fault = _unfit(self.known, self.target)
        if fault:
            raise UserError(f"system.loss = {name!r}: {fault}")

    @property
    def classified(self) -> bool:
        """Whether there are classes, so that there are accuracies."""
        return self.target.classified

    @property
    def signed(self) -> bool:
        """Whether one output tells two classes apart, with gaps Δ to the margin (`margins`)."""
        return self.target.signed

    @property
    def lower_bound(self) -> float | None:
        """What it is never below, whatever the outputs: 0; None where nothing is known."""
        return 0.0 if self.signed or self.known in NON_NEGATIVE else None

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return which part of each example is classified rightly, shape (B,): 0 or 1, if it has one class.

        The class is that of the largest output; or that of the sign of the only one, positive for 1.
        """
        found = (outputs.squeeze(-1) > 0).long() if self.signed else outputs.argmax(-1)
        matched = (found == labels).double()
        return matched if matched.ndim == 1 else matched.flatten(1).mean(1)

    @property
    def gives_probabilities(self) -> bool:
        """Whether outputs that it is made for say the probabilities of the classes."""
        return self.classified and self.known in LOGARITHMIC

    def _pair(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and labels as the function takes them."""
        if not self.classified:
            outputs = _aligned(outputs, labels, bool(self.known))
            # Of more axes torch would take the second for the classes.
            several = self.known == "cross_entropy" and labels.ndim > 2
            return (outputs.flatten(0, -2), labels.flatten(0, -2)) if several else (outputs, labels)
        if not self.known or self.signed:
            return outputs, labels
        if self.known in INDEX:
            several = labels.ndim > 1
            return (outputs.flatten(0, -2), labels.flatten()) if several else (outputs, labels)
        # one_hot of torch reads values, which torch.func does not allow.
        right = labels[..., None] == torch.arange(self.classes, device=labels.device)
        right = right.to(outputs.dtype)
        return outputs, 2 * right - 1 if self.known in SIGNED else right

    def _call(self, outputs: Tensor, labels: Tensor, reduction: str) -> Tensor:
        found: Tensor = self._function(*self._pair(outputs, labels), reduction=reduction)
        return found

    def mean(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch, a scalar: the mean, if it is `separable`."""
        if self.known == "kl_div":
            # The same, without torch's word that a sum over classes would be another loss.
            return self._call(outputs, labels, "none").mean()
        return self._call(outputs, labels, "mean")

    def each(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example, shape (B,); of no meaning if the loss is not `separable`."""
        found = self._call(outputs, labels, "none")
        return found if found.shape == (len(outputs),) else found.reshape(len(outputs), -1).mean(1)

    def require_mean(self, outputs: Tensor, labels: Tensor, each: Tensor) -> None:
        """Make sure that a loss of the user's own still is the mean of what examples have alone.

        Raises
        ------
        UserError
            If it is not: it was at the start, and may have a threshold.
        """
        if self.known:
            return
        whole, mean = float(self.mean(outputs, labels)), float(each.mean())
        if abs(whole - mean) > DRIFTED * max(abs(whole), abs(mean), float(each.abs().mean())):
            raise UserError(
                f"system.loss = {self.name!r}: it was the mean over examples at the start, and no longer is: "
                f"{whole:.6g} for {len(each)} examples, whose own losses are {mean:.6g} on average; allowed: "
                'a loss that says so at once (no reduction = "none")'
            )


def _aligned(outputs: Tensor, labels: Tensor, known: bool) -> Tensor:
    """Return outputs with the shape of the labels, if they have as many numbers in the same order.

    They have where the shapes differ by axes of length 1 alone; for losses of torch, too, where those of an
    example stand in one row on either side. Others are left as they are.
    """
    if outputs.shape == labels.shape or outputs.numel() != labels.numel():
        return outputs
    alike = [n for n in outputs.shape[1:] if n > 1] == [n for n in labels.shape[1:] if n > 1]
    flat = known and min(outputs.ndim, labels.ndim) == 2
    return outputs.reshape(labels.shape) if alike or flat else outputs


def find_loss(name: str, near: Path | None = None) -> Callable[..., Any]:
    """Return the function that `system.loss` names; a user's own is looked for in the folder `near`, too.

    Raises
    ------
    UserError
        If there is none that is a loss.
    """
    ours = getattr(margins, name) if name in margins.SIGNED else getattr(F, name, None)
    found = loss_function(name, near) if ":" in name else ours
    if not callable(found) or "reduction" not in _arguments(found):
        raise UserError(
            f"system.loss = {name!r}: allowed: a loss of torch.nn.functional with the argument reduction, "
            f"such as cross_entropy or mse_loss, {', '.join(margins.SIGNED)}, or your own "
            '"package.module:function"'
        )
    known = _known(name, found)
    if known and known not in (*CLASSES, *DOMAINS, *margins.SIGNED):
        why = OTHERS.get(known, "it is no loss of outputs and labels")
        raise UserError(f"system.loss = {name!r}: {why}; allowed: {', '.join((*CLASSES, *DOMAINS)[:5])}, …")
    return found


def _known(name: str, found: Callable[..., Any]) -> str:
    """Return the name in torch.nn.functional, also where it was named by its module; else ""."""
    inner = getattr(found, "__name__", "")
    if ":" not in name:
        return name
    return inner if getattr(F, inner, None) is found else ""


def _unfit(known: str, target: Target) -> str:
    """Return why a loss of torch.nn.functional does not know such labels; "" if it does."""
    if not known:
        return ""
    if known in margins.SIGNED:
        return _not_two(target)
    if target.classified and known not in CLASSES:
        why = "takes outputs for distances, of which the smallest is the nearest's"
        return f"{why}, not for scores of classes; allowed with classes: {', '.join(CLASSES)}"
    if target.classified:
        return ""
    whose = "the inputs themselves" if target.kind == "input" else "real numbers"
    if known not in DOMAINS:
        return f"compares with classes, the data have {whose}; allowed: {', '.join(DOMAINS)}"
    if known in ("cross_entropy", "kl_div") and not target.shape:
        return "compares with probabilities of several classes, the data have one number for each example"
    return ""


def _not_two(target: Target) -> str:
    """Return why the sign of one output does not tell classes apart; "" if it does."""
    if target.classes == 2 and not target.shape:
        return ""
    classes = f"{target.classes} classes{' at each position' * bool(target.shape)}"
    said = classes if target.classified else "no classes"
    return f"tells two classes apart, by the sign of one output; the data have {said}"


def _arguments(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's arguments; none of a compiled one, which does not say them."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []
