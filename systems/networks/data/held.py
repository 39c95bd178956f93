"""What a loaded data set holds: examples, and which of them each quenched sample learns from.

`base` says what is in it; a data set takes both from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import UserError

Inputs = NDArray[np.uint8] | NDArray[np.float32] | NDArray[np.int64]
Labels = NDArray[np.int64] | NDArray[np.float32]

#: Images that are looked at at once: bounds the memory that it takes, not what is found.
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples, labelled or not.

    Attributes
    ----------
    inputs : ndarray
        Shape (P, channels, height, width) of uint8, (P, channels, …) of float32, or (P, …) of int64: tokens
        and the like, which are not scaled.
    labels : ndarray, shape (P,) or (P, T, …) of int64, or (P,) or (P, …) of float32; or None
        Classes of examples, or of each of their T positions; real numbers. None: outputs are compared with
        inputs.
    """

    inputs: Inputs
    labels: Labels | None = None

    def __len__(self) -> int:
        """Return the number of examples P."""
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, in memory or mapped from files, and the share of each quenched sample.

    Attributes
    ----------
    name : str
    train, test : Examples
        Everything that any sample uses, and perhaps more: ask `rows` and `test_rows`.
    classes : int
        Labels are 0 … classes − 1; 0 where labels are no classes.
    scale, shift : ndarray of float32, shape (channels,)
        What enters the network is scale · inputs + shift; of integers all must be 1 and 0, in any number.
    rows, test_rows : dict
        Label of a quenched sample → indices into `train` (`test`) of the examples that it uses, int64.
    attributes : dict of str
        For the result file, where each name gets the prefix "data_". "hash" identifies the contents:
        a run is resumed only with data of the same hash.
    tokens : int
        Inputs that are integers are 0 … tokens − 1; 0: any integers. Factories of networks may ask for it.
    population : dict
        Label of a quenched sample → indices into `train` of all examples that its own are drawn from, int64,
        from which mean and covariance of its inputs are known; those of `rows` where it is not there.

    Raises
    ------
    UserError
        If sizes, shapes or types disagree, a set is empty, an input is not finite, or a label or an index
        is out of range.
    """

    name: str
    train: Examples
    test: Examples
    classes: int
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    rows: Mapping[int, NDArray[np.int64]]
    test_rows: Mapping[int, NDArray[np.int64]]
    attributes: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0
    population: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what a network could only stumble over."""
        self._require_arrays()
        faults = [
            *self._faults("training", self.train, self.rows),
            *self._faults("test", self.test, self.test_rows),
            *_row_faults("training population", self.population, len(self.train)),
        ]
        faults += self._faults_of_both()
        if faults:
            raise UserError(f"data {self.name!r}: {faults[0]}")

    def _require_arrays(self) -> None:
        for which, part in (("training", self.train), ("test", self.test)):
            given: dict[str, Any] = {"inputs": part.inputs, "labels": part.labels}
            for what, values in given.items():
                if values is not None and not isinstance(values, np.ndarray):
                    said = f"{which} {what} are a {type(values).__name__}; allowed: numpy.ndarray"
                    raise UserError(f"data {self.name!r}: {said}")

    def _faults_of_both(self) -> Iterable[str]:
        """Yield what of training and test set, or of the scale, disagrees."""
        for what in ("inputs", "labels"):
            pair = [getattr(part, what) for part in (self.train, self.test)]
            shapes, types = zip(*(_kind(a) for a in pair), strict=True)
            if shapes[0] != shapes[1]:
                yield f"training and test {what} differ in shape, {shapes[0]} and {shapes[1]}"
            elif types[0] != types[1]:
                yield f"training and test {what} differ in type, {types[0]} and {types[1]}"
        if self.train.inputs.dtype == np.int64:
            if not (np.all(self.scale == 1) and np.all(self.shift == 0)):
                yield "scale and shift must be 1 and 0 with inputs of int64, which are not scaled"
            return
        channels = self.train.inputs.shape[1:2]
        if self.scale.shape != channels or self.shift.shape != channels:
            yield f"scale {self.scale.shape} and shift {self.shift.shape} must have shape {channels}"

    def _faults(self, which: str, examples: Examples, rows: Mapping[int, NDArray[np.int64]]) -> Iterable[str]:
        inputs, count = examples.inputs, len(examples.inputs)
        least = {"uint8": 4, "float32": 2, "int64": 2}.get(str(inputs.dtype))
        if least is None or inputs.ndim < least:
            yield (
                f"{which} inputs are {inputs.dtype} of shape {inputs.shape}; allowed: uint8 of shape "
                "(P, channels, height, width), float32 of shape (P, channels, …), or int64 of shape (P, …)"
            )
        elif inputs.size == 0:
            yield from self._label_faults(which, examples)
            yield f"the {which} set is empty, shape {inputs.shape}"
        elif fault := next(iter(self._label_faults(which, examples)), ""):
            yield fault
        elif inputs.dtype == np.float32 and not _finite(inputs):
            yield f"the {which} inputs are not all finite"
        elif (
            inputs.dtype == np.int64 and self.tokens and not (0 <= inputs.min() <= inputs.max() < self.tokens)
        ):
            yield f"{which} inputs are {inputs.min()} to {inputs.max()}; allowed: 0 to {self.tokens - 1}"
        else:
            yield from _row_faults(f"{which} rows", rows, count)

    def _label_faults(self, which: str, examples: Examples) -> Iterable[str]:
        labels, count = examples.labels, len(examples.inputs)
        if labels is None:
            if self.classes:
                yield f"there are no {which} labels, but classes = {self.classes}; allowed: classes = 0"
        elif labels.dtype not in (np.int64, np.float32) or labels.shape[:1] != (count,):
            yield (
                f"{which} labels are {labels.dtype} of shape {labels.shape}, of {count} inputs; "
                f"allowed: int64 of shape ({count},) or ({count}, T), classes; float32 of shape "
                f"({count}, …), numbers; None, no labels"
            )
        elif labels.size == 0:
            if count:
                yield f"{which} labels of shape {labels.shape} are none"
        elif labels.dtype == np.float32:
            if self.classes:
                yield f"{which} labels are float32, but classes = {self.classes}; allowed: 0, or int64"
            elif not _finite(labels):
                yield f"the {which} labels are not all finite"
        elif labels.min() < 0 or labels.max() >= self.classes:
            wrong = labels[(labels < 0) | (labels >= self.classes)][0]
            yield f"a {which} label is {wrong}; allowed: 0 to {self.classes - 1}"

    def unlabelled(self) -> Data:
        """Return the same inputs without labels."""
        train, test = (Examples(part.inputs) for part in (self.train, self.test))
        return replace(self, train=train, test=test, classes=0)

    def scaled(self, inputs: Inputs) -> NDArray[np.float32] | NDArray[np.int64]:
        """Return what enters the network: scale · inputs + shift, float32; integers as they are."""
        if inputs.dtype == np.int64:
            return inputs.astype(np.int64)
        ones = (1,) * (inputs.ndim - 2)
        scale, shift = (a.reshape(-1, *ones) for a in (self.scale, self.shift))
        return scale * inputs.astype(np.float32) + shift


def _row_faults(which: str, rows: Mapping[int, NDArray[np.int64]], count: int) -> Iterable[str]:
    """Yield that indices of a sample's examples are none of `count`."""
    for sample, share in rows.items():
        if len(share) == 0 or share.min() < 0 or share.max() >= count:
            yield f"{which} of sample {sample} are none, or not all in 0 to {count - 1}"


def _kind(array: NDArray[Any] | None) -> tuple[tuple[int, ...] | None, str]:
    """Return the shape of one example's share, and whether these are integers to a network, or numbers."""
    if array is None:
        return None, "none"
    return array.shape[1:], "integers" if array.dtype.kind == "i" else "numbers"


def _finite(inputs: NDArray[Any]) -> bool:
    """Return whether all numbers are finite, block by block: they may be larger than the memory."""
    return all(np.isfinite(inputs[n : n + BLOCK]).all() for n in range(0, len(inputs), BLOCK))
