r"""The Hessian of each layer's weights: the diagonal blocks H_ll of H, with tr H = Σ_l tr H_ll.

A block is known exactly where H itself is found as a matrix, or where its rows are no more than the products
that an estimate takes: m Lanczos steps and k probes. Else tr H_ll is the mean of z·H_ll z over k probes with
entries ±1 (Hutchinson), with the scatter's standard error, and the largest eigenvalue is the largest Ritz
value of m Lanczos steps from one more probe, a lower bound; within its residual lies an eigenvalue. Each
costs products with H, of vectors that vanish outside of the layer: L (m + k) in all for L layers, where the
spectrum of H takes m k.
"""

from __future__ import annotations

import numpy as np

from langevin.config.keys import HessianKeys
from langevin.core.system import Array
from langevin.observables.landscape.hessian import diagonalised, lanczos

from ..nets.layout import Block
from .curvature import LossHessian
from .layers import blocks

#: Numbers in the vectors that are multiplied at once.
HELD = 2**24

#: Trace, its error, the largest eigenvalue, its residual.
NAMES = (
    "layer_hessian_trace",
    "layer_hessian_trace_error",
    "layer_hessian_top",
    "layer_hessian_top_residual",
)


class LayeredHessian(LossHessian):
    """The Hessian at given weights, which knows its diagonal blocks, too; parameters as `LossHessian`."""

    _matrix: Array | None = None

    def dense(self) -> Array:
        """Return the matrix, shape (M, M): made once."""
        if self._matrix is None:
            self._matrix = super().dense()
        return self._matrix

    def further(
        self, rng: np.random.Generator, keys: HessianKeys
    ) -> dict[str, tuple[tuple[str, ...], Array]]:
        """Return what the file holds of each layer's block: name → further dimensions, and values (layers,).

        Parameters
        ----------
        rng : Generator
            Draws the probes.
        keys : HessianKeys
            As of the spectrum of the whole.
        """
        whole = self.dense() if self.size <= keys.hessian_exact else None
        rows = [self._block(block, whole, rng, keys) for block in blocks(self.twin.layout)]
        columns = dict(zip(NAMES, np.array(rows, dtype=float).T, strict=True))
        if whole is not None:
            # Errors that are all zero say nothing.
            columns = {name: columns[name] for name in (NAMES[0], NAMES[2])}
        return {name: (("layer",), values) for name, values in columns.items()}

    def _block(
        self, block: Block, whole: Array | None, rng: np.random.Generator, keys: HessianKeys
    ) -> tuple[float, float, float, float]:
        part = slice(block.start, block.stop)
        size, probes = block.stop - block.start, keys.hessian_probes
        own = _Diagonal(self, part)
        if whole is not None or size <= keys.hessian_steps + probes:
            matrix = own.dense() if whole is None else whole[part, part]
            spectrum = diagonalised(matrix)
            return spectrum.trace, 0.0, float(spectrum.values[-1]), 0.0
        signs = np.array(2 * rng.integers(0, 2, size=(size, probes)) - 1, np.float64)
        traces = np.sum(signs * own.matvec(signs), axis=0)
        ritz = lanczos(own, rng, keys.hessian_steps, 1)
        top = int(np.nanargmax(ritz.values[0]))
        error = float(traces.std(ddof=1) / np.sqrt(probes))
        return float(traces.mean()), error, float(ritz.values[0, top]), float(ritz.residuals[0, top])


class _Diagonal:
    """A diagonal block of a Hessian, by what the whole does to vectors.

    Parameters
    ----------
    hessian : LossHessian
    part : slice
        Its rows.
    """

    def __init__(self, hessian: LossHessian, part: slice) -> None:
        self.hessian, self.part, self.size = hessian, part, part.stop - part.start

    def matvec(self, vectors: Array) -> Array:
        """Return the block's product with vectors, shape (size, k)."""
        together = max(1, HELD // self.hessian.size)
        block_product = np.empty(vectors.shape)
        for first in range(0, vectors.shape[1], together):
            some = vectors[:, first : first + together]
            wide = np.zeros((self.hessian.size, some.shape[1]))
            wide[self.part] = some
            block_product[:, first : first + together] = self.hessian.matvec(wide)[self.part]
        return block_product

    def dense(self) -> Array:
        """Return the block, shape (size, size)."""
        return self.matvec(np.eye(self.size))
