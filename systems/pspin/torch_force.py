r"""Forces of the p-spin model by matrix products of torch, for all replicas of a sample at once.

With A the matrix of a tile (`tiles`), S the spins, shape (N, R), π_P = Π_{i in P} s_i and Y = A S[columns],

    f_j += Σ_P π_P Y_{P,j},    g_P += Σ_j s_j Y_{P,j},    f[columns] += Aᵀ (π_P s_j),

where g_P = ∂(−H)/∂π_P is the force on the prefix's site for p = 3, and f_h += s_i g_{hi}, f_i += s_h g_{hi}
for p = 4. So a force is 2 N/T products. For p = 3 and R replicas it takes at least 4 N³/6 R operations, two
multiply-adds for each coupling and replica, and one reading of N³/6 numbers; the two products read them
twice. Sums run in an order that depends on shapes alone: the same bits again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from langevin.systems import switches

from .tiles import Tile, Tiling


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b of each sample, shapes (samples, m, k), (samples, k, R)."""
    if len(a) > 1:
        return torch.bmm(a, b)
    # One sample: calls that are made for a matrix, or for a vector, are never slower.
    return (torch.mv(a[0], b[0, :, 0])[:, None] if b.shape[2] == 1 else torch.mm(a[0], b[0]))[None]


class SummedForce:
    """Forces of a mixed model: the sum of those of its p.

    Parameters
    ----------
    parts : sequence of callable
        Forces of each p, of spins in float64, shape (samples, N, lanes).
    """

    def __init__(self, parts: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.parts = list(parts)

    def __call__(self, x: Tensor) -> Tensor:
        """Return −∂H/∂σ, shape of x."""
        total = self.parts[0](x)
        for part in self.parts[1:]:
            total = total + part(x)
        return total


class TorchForce:
    """Forces of the lanes of all samples.

    Parameters
    ----------
    tiling : Tiling
    data : Tensor, shape (samples, size)
        The couplings.
    tf32 : bool
        Whether products in single precision may be made with TF32.
    """

    def __init__(self, tiling: Tiling, data: Tensor, tf32: bool = False) -> None:
        self.tiling, self.data, self.tf32 = tiling, data, tf32
        self.matrices: list[tuple[Tile, Tensor]] = list(tiling.matrices(data))
        self._pairs = torch.from_numpy(tiling.prefixes).to(data.device)
        if tiling.p == 4:
            self._number = self._numbered().to(data.device)

    def _numbered(self) -> Tensor:
        """Return the number of every pair of sites, shape (N − 2, N − 2); on the diagonal that of none."""
        pairs, size = self.tiling.prefixes, self.tiling.n - 2
        number = np.full((size, size), len(pairs))
        number[pairs[:, 0], pairs[:, 1]] = number[pairs[:, 1], pairs[:, 0]] = np.arange(len(pairs))
        return torch.from_numpy(number)

    def __call__(self, x: Tensor) -> Tensor:
        """Return −∂H/∂σ, float64, of spins in float64; both of shape (samples, N, lanes)."""
        s = self.padded(x)
        on_card = s.device.type == "cuda"
        with switches.chosen(self.tf32) if on_card else nullcontext():
            f, g = self.sums(s, self.weights(s))
        return self.finished(x, f, g)

    def padded(self, x: Tensor) -> Tensor:
        """Return the spins in the couplings' precision, with zeros on the sites beyond N."""
        s = torch.zeros((len(x), self.tiling.sites, x.shape[2]), dtype=self.data.dtype, device=x.device)
        s[:, : self.tiling.n] = x
        return s

    def weights(self, s: Tensor) -> Tensor:
        """Return π of every prefix, shape (samples, prefixes, lanes)."""
        if self.tiling.p == 2:
            return torch.ones_like(s[:, :1])
        if self.tiling.p == 3:
            return s[:, : len(self._pairs)]
        return s[:, self._pairs[:, 0]] * s[:, self._pairs[:, 1]]

    def sums(self, s: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums f of sites, padding included, and g of prefixes, float64."""
        f = torch.zeros(s.shape, dtype=torch.float64, device=s.device)
        g = torch.zeros(weights.shape, dtype=torch.float64, device=s.device)
        for tile, matrix in self.matrices:
            rows = slice(tile.first, tile.first + self.tiling.rows)
            columns = slice(tile.first + 1, tile.first + 1 + tile.columns)
            prefix, spin = weights[:, : tile.prefixes, None], s[:, None, rows]
            y = product(matrix, s[:, columns]).view(len(s), tile.prefixes, self.tiling.rows, -1)
            f[:, rows] += (y * prefix).sum(1)
            if self.tiling.p > 2:
                g[:, : tile.prefixes] += (y * spin).sum(2)
            f[:, columns] += product(matrix.mT, (prefix * spin).flatten(1, 2))
        return f, g

    def finished(self, x: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """Return the force of the two kinds of sums, shape (samples, N, lanes)."""
        f = f[:, : self.tiling.n]
        if self.tiling.p == 3:
            f[:, : g.shape[1]] += g
        if self.tiling.p == 4:
            inner = self.tiling.n - 2
            none = torch.zeros_like(g[:, :1])
            square = torch.cat([g, none], dim=1)[:, self._number]
            f[:, :inner] += (square * x[:, None, :inner]).sum(2)
        return f
