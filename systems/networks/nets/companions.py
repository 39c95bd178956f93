"""What stands beside a replica's weights where no run carries it along: in files, and at weights of others.

A run has it in its state. A file that stores configurations stores it, too: once what never changes (frozen
parameters, buffers that stay as they are), and with every configuration what a forward pass changes, such as
running statistics. A network that is built from such a file takes it from there: a seed gives the same again
only as long as nobody changes the code, and not at all if that run began from another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from langevin.core.system import Beside
from langevin.errors import UserError

from .layout import beside, packed, put, unpacked
from .traits import Traits


class Built(Sequence[nn.Module]):
    """The networks of all replicas as they start, each built when it is first asked for.

    Parameters
    ----------
    build : callable
        Returns the network of the replica with a label.
    labels : sequence of int
    """

    def __init__(self, build: Callable[[int], nn.Module], labels: Sequence[int]) -> None:
        self._build, self._labels = build, labels
        self._built: dict[int, nn.Module] = {}

    def __len__(self) -> int:
        """Return the number of replicas."""
        return len(self._labels)

    @overload
    def __getitem__(self, at: int) -> nn.Module: ...

    @overload
    def __getitem__(self, at: slice) -> list[nn.Module]: ...

    def __getitem__(self, at: int | slice) -> nn.Module | list[nn.Module]:
        """Return the network at a position, or those at several."""
        places = range(len(self))[at]
        if isinstance(places, range):
            return [self[place] for place in places]
        if places not in self._built:
            self._built[places] = self._build(int(self._labels[places]))
        return self._built[places]


class Companions:
    """What stands beside the weights of each replica, in the order of `layout.beside`.

    Parameters
    ----------
    modules : sequence of Module
        As the replicas start. What never changes stays where it is, in them.
    traits : Traits
    """

    def __init__(self, modules: Sequence[nn.Module], traits: Traits) -> None:
        self.modules = modules
        self.names = list(beside(modules[0]))
        self.moving = [name in traits.moving for name in self.names]
        # Where nothing stands beside the weights there is nothing to build a network for.
        self.values = [self._kept(m) for m in modules] if self.names else [[] for _ in range(len(modules))]
        #: Whether they come from a file.
        self.recalled = False

    def _kept(self, module: nn.Module) -> list[Tensor]:
        pairs = zip(beside(module).values(), self.moving, strict=True)
        return [t.detach().clone() if moves else t.detach() for t, moves in pairs]

    def _some(self, tensors: Sequence[Tensor], moving: bool) -> list[Tensor]:
        return [t for t, moves in zip(tensors, self.moving, strict=True) if moves == moving]

    def packed(self, buffers: Sequence[Tensor]) -> Beside:
        """Return what a state holds beside its weights, shape (R, …) each, as arrays for a file."""
        rows = [list(row) for row in zip(*buffers, strict=True)] or [[] for _ in self.values]
        fixed, moving = (
            np.stack([packed(self._some(row, moves)) for row in rows]) for moves in (False, True)
        )
        return Beside(fixed, moving)

    def unpacked(self, found: Beside, position: int, row: int = 0) -> list[Tensor]:
        """Return what a file holds in one row, for the replica at a position.

        Raises
        ------
        UserError
            If it is of another size.
        """
        like, parts = list(beside(self.modules[position]).values()), []
        for array, moves in ((found.fixed, False), (found.moving, True)):
            own = self._some(like, moves)
            size = len(packed(own))
            if array.shape[1] != size:
                what = "buffers that change" if moves else "frozen parameters and constant buffers"
                raise UserError(
                    f"the network has {size} numbers of {what}, the file holds {array.shape[1]}: the code of "
                    "the network is not that of the run"
                )
            parts.append(iter(unpacked(array[row], own)))
        return [next(parts[moves]) for moves in self.moving]

    def recall(self, found: Beside) -> None:
        """Take what a file holds, for every replica."""
        for k in range(len(self.modules) if self.names else 1):
            module = self.modules[k]
            put(module, self.unpacked(found, k, k))
            self.values[k] = self._kept(module)
        self.recalled = True


def differing(first: Beside, last: Beside) -> NDArray[np.bool_]:
    """Return for which replicas of two files what never changes differs, shape (R,)."""
    if first.fixed.shape != last.fixed.shape:
        return np.ones(len(first.fixed), dtype=bool)
    return np.asarray((first.fixed != last.fixed).any(axis=1))


def stacked(rows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return for each tensor beside the weights those of all replicas, shape (R, …)."""
    return [torch.stack(list(same)) for same in zip(*rows, strict=True)]
