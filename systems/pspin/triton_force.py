"""Forces of the p-spin model in single precision by kernels of Triton, where torch brings it: on a GPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .tiles import Tiling
from .torch_force import TorchForce

#: What the two ways to compute a force may differ by, relative to the largest force: their rounding.
ROUNDING = {False: 1e-4, True: 2e-2}


@dataclass(frozen=True)
class Blocks:
    """How the work is cut; rounding depends on it, so that it is not chosen by timing.

    Attributes
    ----------
    columns : int
        Columns of a tile that a program takes, a power of two.
    prefixes : int
        Prefixes that a program takes, at most.
    lanes : int
        Lanes that a program takes, at most, a power of two.
    warps, stages : int
        Warps of a program, and couplings that are on their way to it.
    """

    columns: int = 128
    prefixes: int = 64
    lanes: int = 64
    warps: int = 4
    stages: int = 3


class TritonForce(TorchForce):
    """Forces of the lanes of all samples, from one reading of the couplings.

    For one lane it is a sum of products, in single precision. For more it is matrix products with TF32, of which
    three stand for one in single precision, unless `tf32`.

    Parameters
    ----------
    tiling, data, tf32
        As of `TorchForce`; single precision.
    blocks : Blocks
    """

    def __init__(self, tiling: Tiling, data: Tensor, tf32: bool = False, blocks: Blocks | None = None) -> None:
        super().__init__(tiling, data, tf32)
        self.blocks = blocks or Blocks()
        programs, targets = _plan(tiling, self.blocks)
        self._table = torch.from_numpy(programs).to(data.device)
        #: Rows that all programs write, and sites and prefixes that these are added to.
        self._rows, self._targets = len(targets), tiling.n + len(tiling.prefixes) * (tiling.p > 2)
        order, bounds = _order(targets, self._targets)
        self._order, self._bounds = (torch.from_numpy(a).to(data.device) for a in (order, bounds))

    def sums(self, s: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums f of sites and g of prefixes, float64."""
        from . import triton_kernels as kernels

        samples, lanes = len(s), s.shape[2]
        s, weights = s.contiguous(), weights.contiguous()
        parts = s.new_empty((samples, self._rows, lanes))
        result = torch.empty((samples, self._targets, lanes), dtype=torch.float64, device=s.device)
        at_once = 1 if lanes == 1 else min(self.blocks.lanes, max(16, 1 << (lanes - 1).bit_length()))
        across = -(-lanes // at_once)
        given = (self.data, s, weights, parts, self._table, self.tiling.size, s.shape[1], weights.shape[1])
        cut: dict[str, Any] = {
            "T": self.tiling.rows,
            "COLUMNS": self.blocks.columns,
            "GRADED": self.tiling.p > 2,
            "num_warps": self.blocks.warps,
            "num_stages": self.blocks.stages,
        }
        grid = (len(self._table), samples, across)
        if lanes == 1:
            kernels.multiply_one[grid](*given, self._rows, lanes, **cut)
        else:
            precision = "tf32" if self.tf32 else "tf32x3"
            kernels.multiply[grid](*given, self._rows, lanes, LANES=at_once, PRECISION=precision, **cut)
        kernels.add[(self._targets, samples, across)](
            parts, result, self._order, self._bounds, self._targets, self._rows, lanes,
            ROWS=512 if lanes == 1 else 32, LANES=at_once,
        )  # fmt: skip
        f, g = result[:, : self.tiling.n], result[:, self.tiling.n :]
        return f, g if self.tiling.p > 2 else result.new_zeros(weights.shape)


def _plan(tiling: Tiling, blocks: Blocks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the programs, shape (programs, fields), and the target of every row; -1: of none.

    Targets are the sites, and behind them the prefixes.
    """
    programs, targets, row = [], [], 0
    for tile in tiling.tiles:
        j = tile.first + np.arange(tiling.rows)
        for start in range(0, tile.columns, blocks.columns):
            k = tile.first + 1 + start + np.arange(blocks.columns)
            for begin in range(0, tile.prefixes, blocks.prefixes):
                end = min(begin + blocks.prefixes, tile.prefixes)
                programs.append((tile.offset, tile.first, tile.columns, start, begin, end, row))
                sites = np.concatenate((j, k))
                targets.append(np.where(sites < tiling.n, sites, -1))
                if tiling.p > 2:
                    targets.append(tiling.n + np.arange(begin, end))
                row += len(sites) + (end - begin) * (tiling.p > 2)
    return np.array(programs, np.int64), np.concatenate(targets)


def _order(targets: NDArray[np.int64], count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rows by their targets, and where those of each target begin and end."""
    order = np.argsort(targets, kind="stable")
    bounds = np.searchsorted(targets[order], np.arange(count + 1))
    return order.astype(np.int32), bounds


def fastest(tiling: Tiling, data: Tensor, tf32: bool) -> TorchForce:
    """Return the forces by kernels of Triton, if they are those of torch; else by torch, and say so."""
    plain = TorchForce(tiling, data, tf32)
    if data.device.type != "cuda" or data.dtype != torch.float32:
        return plain
    said = ""
    try:
        from triton.errors import TritonError
    except ImportError as error:
        said = str(error)
    else:
        try:
            force = TritonForce(tiling, data, tf32)
            if not (said := _difference(force, plain)):
                return force
        except (TritonError, RuntimeError, TypeError, ValueError, AttributeError, OSError) as error:
            said = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]
    print(f"langevin: the p-spin kernels of Triton are not used, but products of torch ({said})", file=sys.stderr)
    return plain


def _difference(force: TorchForce, plain: TorchForce) -> str:
    """Return what is wrong with forces of the kernels at some spins of one lane and of several, or nothing."""
    for lanes in (1, 20):
        # The same everywhere, of order 1, and not the same on any two sites.
        x = torch.arange(len(plain.data) * plain.tiling.n * lanes, dtype=torch.float64, device=plain.data.device)
        x = torch.sin(x * x).view(len(plain.data), -1, lanes)
        expected, found = plain(x), force(x)
        off = float((found - expected).abs().max() / expected.abs().max())
        if not off <= ROUNDING[plain.tf32]:
            return f"their forces differ by {off:.1g} of the largest"
    return ""
