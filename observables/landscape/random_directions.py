r"""Random directions from a configuration are drawn here, as long in each of its parts as the part itself is.

Li, Xu, Taylor, Studer, Goldstein, NeurIPS 2018, arXiv:1712.09913, section 4. A net of ReLU computes the same
if the weights of one layer are multiplied by c and those of the next by 1/c, but a step of given length means
less to the longer weights: two landscapes are compared only in directions that scale with the weights. With
Gaussian d, each filter i of a layer j (its weights to one output) has

    δ_ij = d_ij |w_ij|/|d_ij|,

and δ = 0 for tensors with one number for each output: biases, weights and biases of norms. Points of the
plane are w + x δ + y η, η a second one; x = 1 moves each filter by its own length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np

from ..statistics import Array

Normalise: TypeAlias = Literal["none", "layer", "filter"]


class TensorPart(Protocol):
    """A tensor of a configuration: its place, and the axis along which its filters are numbered."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def start(self) -> int:
        """Where its first element stands."""

    @property
    def axis(self) -> int:
        """Along which its filters are numbered."""


def random_direction(
    x: Array, parts: Sequence[TensorPart], rng: np.random.Generator, normalise: Normalise = "filter"
) -> Array:
    """Return a random direction, shape (M,).

    Parameters
    ----------
    x : ndarray, shape (M,)
        The configuration that it begins at.
    parts : sequence of TensorPart
        Tensors that the configuration consists of; not needed for "none".
    rng : Generator
        Draws M normals, whatever the parts are.
    normalise : {"none", "layer", "filter"}
        "filter": each filter of a tensor with two axes or more is as long as that of x; "layer": each such
        tensor is; those with one axis rest. "none": the whole is as long as x, and nothing rests.

    Raises
    ------
    ValueError
        If nothing is left of it.
    """
    d = rng.standard_normal(len(x))
    if normalise == "none":
        return d * (np.linalg.norm(x) / np.linalg.norm(d))
    direction = np.zeros(len(x))
    for part in parts:
        if len(part.shape) < 2:
            continue
        own = slice(part.start, part.start + int(np.prod(part.shape)))
        given, drawn = x[own].reshape(part.shape), d[own].reshape(part.shape)
        axes = tuple(k for k in range(len(part.shape)) if k != part.axis or normalise == "layer")
        lengths, drawn_lengths = (np.sqrt(np.sum(t**2, axis=axes, keepdims=True)) for t in (given, drawn))
        direction[own] = (drawn * (lengths / drawn_lengths)).ravel()
    if not direction.any():
        raise ValueError("nothing has filters that are not zero")
    return direction
