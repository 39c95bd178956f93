"""What a quenched sample is tested on, and what identifies the data that it learns from and is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .examples import OnDevice

Rows = Mapping[int, NDArray[np.int64]]


class Tested(NamedTuple):
    """All test examples of a quenched sample.

    Attributes
    ----------
    rows : Tensor, shape (n,)
    labels : ndarray of int, shape (n, …); or None
    data : str
        A hash of all inputs and labels, of training and test, in their order.
    """

    rows: Tensor
    labels: NDArray[Any] | None
    data: str


class TestSets:
    """Quenched sample → `Tested`, made when it is asked for: to hash a data set takes a while.

    Parameters
    ----------
    train, test : OnDevice
    rows, test_rows : mapping
        Label of a sample → indices of its examples.
    """

    #: pytest is not to take it for a class of tests.
    __test__ = False

    def __init__(self, train: OnDevice, test: OnDevice, rows: Rows, test_rows: Rows) -> None:
        self.parts = (train, rows), (test, test_rows)
        self._made: dict[int, Tested] = {}

    def __getitem__(self, sample: int) -> Tested:
        """Return what the sample is tested on."""
        if sample not in self._made:
            digest = hashlib.sha256()
            for examples, rows in self.parts:
                index = examples.upload(rows[sample])
                for piece in torch.split(index, examples.piece):
                    for kept in (k for k in (examples.inputs, examples.labels) if k is not None):
                        digest.update(kept.index_select(0, piece).cpu().numpy().tobytes())
            own = examples.labels
            labels = None if own is None else own[index].cpu().numpy()
            self._made[sample] = Tested(index, labels, digest.hexdigest())
        return self._made[sample]
