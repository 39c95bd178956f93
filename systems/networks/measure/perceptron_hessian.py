r"""The Hessian of a fully connected net's mean loss in closed form, for nets of up to a few thousand weights.

Layer m maps a_m to z_m = W_m a_m + b_m and a_{m+1} = φ(z_m); the loss ℓ is a function of the last z. For each
example let δ_m = ∂ℓ/∂z_m, H_m = ∂²ℓ/∂z_m∂z_m, and J_mk = ∂z_m/∂z_k for k ≤ m (J_mm = 1). With ã = (a, 1), the
1 belonging to the bias, ∂ℓ/∂W̃_m = δ_m ã_mᵀ. Differentiated once more, for k ≤ m,

    ∂²ℓ/∂W̃_m,ij ∂W̃_k,rq = [(H_m J_mk)_ir ã_m,j + δ_m,i E_jr] ã_k,q,    E = ∂a_m/∂z_k = φ'(z_{m−1}) J_{m−1,k},

E = 0 for k = m and in the row of the bias. H_m follows from behind, δ_m too:

    H_m = φ'_m W_{m+1}ᵀ H_{m+1} W_{m+1} φ'_m + diag(φ''_m W_{m+1}ᵀ δ_{m+1}).

(Diagonal blocks: Botev, Ritter and Barber, ICML 2017.) Both terms are matrix products over the examples, and
the work is that of building the matrix, P M²/2 multiply-adds for P examples and M weights. Arrays have the
examples last, where they are contiguous.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..descent.perceptron import Shape

Array: TypeAlias = NDArray[np.float64]

#: Numbers in the largest array of one piece of the examples.
PIECE = 2**20


def hessian(
    weights: Array, shape: Shape, inputs: Array, labels: NDArray[np.int64], margin: float = 1.0
) -> Array:
    """Return the Hessian of the mean loss.

    Parameters
    ----------
    weights : ndarray, shape (M,)
        Weights and biases, layer after layer, as PyTorch orders them.
    shape : Shape
    inputs : ndarray, shape (P, n_0)
    labels : ndarray of int, shape (P,)
    margin : float
        ε of the quadratic hinge.

    Returns
    -------
    ndarray, shape (M, M)
    """
    sizes, starts = shape.sizes, [0]
    for a, b in pairwise(sizes):
        starts.append(starts[-1] + (a + 1) * b)
    total = np.zeros((starts[-1], starts[-1]))
    layers = [_layer(weights[s:], a, b) for s, (a, b) in zip(starts, pairwise(sizes), strict=False)]
    piece = max(1, PIECE // _widest(sizes))
    for first in range(0, len(inputs), piece):
        part = slice(first, first + piece)
        _add(total, layers, starts, shape, np.ascontiguousarray(inputs[part].T), labels[part], margin)
    # Blocks below the diagonal are the transposed ones above it.
    lower = np.tril(total, -1)
    return (lower + lower.T + np.diag(np.diag(total))) / len(inputs)


def _widest(sizes: tuple[int, ...]) -> int:
    """Return the numbers of one example in the largest array."""
    layers = [(a + 1, b) for a, b in pairwise(sizes)]
    return max(
        max(n * r, n * q, j * r, min(j * q, n * r * j))
        for k, (q, r) in enumerate(layers)
        for j, n in layers[k:]
    )


def _layer(weights: Array, inputs: int, outputs: int) -> tuple[Array, Array]:
    """Return W, shape (outputs, inputs), and b of the layer that begins here."""
    size = inputs * outputs
    return weights[:size].reshape(outputs, inputs), weights[size : size + outputs]


def _add(
    total: Array,
    layers: list[tuple[Array, Array]],
    starts: list[int],
    shape: Shape,
    inputs: Array,
    labels: NDArray[np.int64],
    margin: float,
) -> None:
    """Add the second derivatives of some examples' losses, inputs of shape (n_0, P), to the blocks k ≤ m."""
    count = len(layers)
    inside, slopes, bends, z = [inputs], [], [], inputs
    for m, (matrix, bias) in enumerate(layers):
        z = matrix @ inside[-1] + bias[:, None]
        if m + 1 < count:
            value, slope, bend = _activation(shape.activation, z)
            inside.append(value)
            slopes.append(slope)
            bends.append(bend)
    delta, curved = _loss(shape, z, labels, margin)
    extended = [np.vstack([a, np.ones((1, a.shape[1]))]) for a in inside]
    behind = _derivatives(layers, slopes, bends, delta, curved)
    for k in range(count):
        _place(total, starts, k, k, _outer(behind[k][1], extended[k], extended[k]))
        through = np.eye(len(layers[k][1]))[:, :, None]
        for m in range(k + 1, count):
            # ∂a_m/∂z_k from ∂z_{m−1}/∂z_k, and from it ∂z_m/∂z_k.
            into = slopes[m - 1][:, None] * through
            through = np.tensordot(layers[m][0], into, axes=(1, 0))
            delta, curved = behind[m]
            block = _outer(_product(curved, through), extended[m], extended[k])
            # δ_i E_jr ã_q, as a product over the examples: (j r) with (i q).
            mixed = _flat(into) @ _flat(delta[:, None] * extended[k]).T
            mixed = mixed.reshape(*into.shape[:2], len(delta), len(extended[k]))
            block[:, :-1] += mixed.transpose(2, 0, 1, 3)
            _place(total, starts, m, k, block)


def _derivatives(
    layers: list[tuple[Array, Array]], slopes: list[Array], bends: list[Array], delta: Array, curved: Array
) -> list[tuple[Array, Array]]:
    """Return (δ_m, H_m) of every layer from those of the last, shapes (n, P) and (n, n, P)."""
    found = [(delta, curved)]
    for (matrix, _), slope, bend in zip(layers[:0:-1], slopes[::-1], bends[::-1], strict=True):
        back = matrix.T @ delta
        half = np.tensordot(matrix, curved, axes=(0, 0))
        curved = np.tensordot(matrix, half, axes=(0, 1)) * slope[:, None] * slope
        diagonal = np.arange(len(slope))
        curved[diagonal, diagonal] += bend * back
        delta = slope * back
        found.append((delta, curved))
    return found[::-1]


def _activation(kind: str, z: Array) -> tuple[Array, Array, Array]:
    """Return φ, φ', φ''; of ReLU at 0 the derivatives are 0, as torch has them."""
    if kind == "tanh":
        value = np.tanh(z)
        slope = 1 - value**2
        return value, slope, -2 * value * slope
    slope = (z > 0).astype(np.float64)
    return z * slope, slope, np.zeros_like(z)


def _loss(shape: Shape, z: Array, labels: NDArray[np.int64], margin: float) -> tuple[Array, Array]:
    """Return ∂ℓ/∂z and ∂²ℓ/∂z∂z of every example, shapes (K, P) and (K, K, P), z being the last layer's."""
    if shape.loss == "quadratic_hinge":
        signs = np.asarray(2.0 * labels - 1, dtype=np.float64)
        gap = np.asarray(margin - signs * z, dtype=np.float64)
        first = np.asarray(-signs * np.maximum(gap, 0), dtype=np.float64)
        return first, (gap > 0).astype(np.float64)[None]
    number = len(z)
    target = (labels == np.arange(number)[:, None]).astype(np.float64)
    diagonal = np.arange(number)
    if shape.loss == "cross_entropy":
        share = np.exp(z - z.max(0))
        share /= share.sum(0)
        curved = -share[:, None] * share
        curved[diagonal, diagonal] += share
        return share - target, curved
    curved = np.zeros((number, number, z.shape[1]))
    if shape.last == "sigmoid":
        value = 1 / (1 + np.exp(-z))
        slope = value * (1 - value)
        curved[diagonal, diagonal] = 2 / number * (slope**2 + (value - target) * slope * (1 - 2 * value))
        return 2 / number * (value - target) * slope, curved
    curved[diagonal, diagonal] = 2 / number
    return 2 / number * (z - target), curved


def _product(a: Array, b: Array) -> Array:
    """Return the matrix product for every example, shapes (n, r, P) and (r, s, P)."""
    return np.einsum("nrp,rsp->nsp", a, b)


def _flat(a: Array) -> Array:
    return a.reshape(-1, a.shape[-1])


def _outer(curved: Array, left: Array, right: Array) -> Array:
    """Return Σ_p C_ikp l_jp r_qp, shape (i, j, k, q)."""
    rows, columns = curved.shape[:2]
    if len(right) <= rows * columns:
        pairs = _flat(left[:, None] * right)
        found = (_flat(curved) @ pairs.T).reshape(rows, columns, len(left), len(right))
        return found.transpose(0, 2, 1, 3)
    # Many inputs: the products of two of them would be far more numbers than these.
    triples = curved[:, None] * left[:, None]
    return (_flat(triples) @ right.T).reshape(rows, len(left), columns, len(right))


def _place(total: Array, starts: list[int], m: int, k: int, block: Array) -> None:
    """Add a block, shape (n_m, inputs + 1, n_l, inputs + 1), where weights and biases of the layers stand."""
    rows, columns = block.shape[0], block.shape[2]
    below, beside = rows * (block.shape[1] - 1), columns * (block.shape[3] - 1)
    here = total[starts[m] : starts[m + 1], starts[k] : starts[k + 1]]
    here[:below, :beside] += block[:, :-1, :, :-1].reshape(below, beside)
    here[below:, :beside] += block[:, -1, :, :-1].reshape(rows, beside)
    here[:below, beside:] += block[:, :-1, :, -1].reshape(below, columns)
    here[below:, beside:] += block[:, -1, :, -1]
