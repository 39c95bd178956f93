"""What outputs are compared with: a class, a class at every position, numbers, or the input itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..data.base import Data


@dataclass(frozen=True)
class Target:
    """What the outputs of one example are compared with.

    Attributes
    ----------
    kind : {"class", "value", "input"}
        Indices of classes, real numbers, or what entered the network, where a data set has no labels.
    shape : tuple of int
        Of one example's target: () for one class or one number, (T,) for one at each of T positions.
    classes : int
        Number of classes; 0 where there are none.
    signed : bool
        Whether the sign of one output tells two classes apart (`margins`).
    """

    kind: Literal["class", "value", "input"]
    shape: tuple[int, ...]
    classes: int
    signed: bool = False

    @classmethod
    def of(cls, data: Data) -> Target:
        """Return that of a data set."""
        labels = data.train.labels
        if labels is None:
            return cls("input", tuple(data.train.inputs.shape[1:]), 0)
        kind: Literal["class", "value"] = "class" if labels.dtype.kind == "i" else "value"
        return cls(kind, tuple(labels.shape[1:]), data.classes if kind == "class" else 0)

    @property
    def classified(self) -> bool:
        """Whether there are classes, so that there are accuracies."""
        return self.kind == "class"

    @property
    def one_class(self) -> bool:
        """Whether it is the class of the whole example."""
        return self.classified and not self.shape

    @property
    def numbers(self) -> int:
        """How many outputs a network needs: at each position as many as there are classes; else one each."""
        if self.signed:
            return 1
        return self.classes if self.classified else math.prod(self.shape)

    @property
    def wanted(self) -> str:
        """The shape of the outputs for two examples, in words."""
        if self.signed:
            return "(2, 1), whose sign tells the class"
        if self.one_class:
            return f"(2, {self.classes}), one for each class"
        if self.classified:
            return f"{(2, *self.shape, self.classes)}, one for each class at every position"
        return f"{(2, *self.shape)}, that of the {'inputs' if self.kind == 'input' else 'labels'}"
