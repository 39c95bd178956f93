"""Systems answer in these types: arrays, attributes, predictions, parts, curvature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Configuration: TypeAlias = NDArray[np.float64] | NDArray[np.float32]
State: TypeAlias = Any
Reference: TypeAlias = Any
Attributes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Name of a variable → its netCDF attributes (`long_name`, `units`, …)."""
Coordinates: TypeAlias = Mapping[str, tuple[str, NDArray[Any], Mapping[str, Any]]]
"""Name of a coordinate → its dimension, its values there (numbers or words), its netCDF attributes."""
Dimensions: TypeAlias = Mapping[str, tuple[str, ...]]
"""Name of an observable → its dimensions after replica and its times, such as ("species", "wavenumber")."""


class Predictions(NamedTuple):
    """What a classifier says of its test examples.

    Attributes
    ----------
    outputs : ndarray, shape (n, K)
        Probabilities of the classes; else any outputs, of which the largest names the class.
    losses : ndarray, shape (examples,)
        n of them, unless one example is classified at many positions.
    labels : ndarray of int, shape (n,)
        The right classes.
    probabilities : bool
        Whether the outputs are probabilities.
    data : str
        What identifies all examples, of training and test: a hash.
    """

    outputs: Array
    losses: Array
    labels: NDArray[np.int64]
    probabilities: bool
    data: str


class Part(NamedTuple):
    """A tensor that configurations consist of.

    Attributes
    ----------
    name : str
    shape : tuple of int
    start : int
        Where its first element stands in the configuration; the others follow, the last axis innermost.
    axis : int
        Along which its filters are numbered: the weights that lead to one output.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    axis: int = 0


class Curvature(Protocol):
    """The Hessian of one replica's energy: a symmetric matrix, known by what it does to vectors.

    Of the extensive energy, where the energy is extensive; with a constraint, on the tangent space. The
    protocols below say what it may give besides.
    """

    @property
    def size(self) -> int:
        """Number of rows."""

    def matvec(self, vectors: Array) -> Array:
        """Return H V, shape (size, k), of vectors V, shape (size, k)."""

    def dense(self) -> Array:
        """Return H, shape (size, size)."""


@runtime_checkable
class HasGradient(Protocol):
    """A curvature that knows the gradient: how much of it lies in the span of eigenvectors is measured."""

    def gradient(self) -> Array:
        """Return the gradient of the same energy, shape (size,)."""


@runtime_checkable
class HasDisplacements(Protocol):
    """A curvature whose vectors are no displacements of the configuration, but stand for such."""

    def displacements(self, vectors: Array) -> Array:
        """Return vectors, shape (size, k), as displacements, shape (dof, k), with the same products."""


@runtime_checkable
class HasBlocks(Protocol):
    """A curvature that knows something of its parts, such as the blocks of layers."""

    def further(self, rng: np.random.Generator, keys: Any, /) -> Mapping[str, tuple[Any, Array]]:
        """Return name → further dimensions, and values of the parts; `keys` are those of [record]."""


class Beside(NamedTuple):
    """What a configuration alone does not say of the replicas, as numbers.

    Attributes
    ----------
    fixed : ndarray, shape (R, a)
        What never changes, such as the frozen parameters of a network.
    moving : ndarray, shape (R, b)
        What dynamics change, such as running statistics: stored with every configuration.
    """

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]

    def of(self, positions: NDArray[np.int64] | list[int]) -> Beside:
        """Return those of the replicas at these positions."""
        return Beside(self.fixed[positions], self.moving[positions])
