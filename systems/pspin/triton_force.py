"""Forces of the p-spin model in single precision by kernels of Triton, where torch brings it: on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.machine import notices

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
    warps : int
        Warps of a program.
    stages : int
        Of one lane: how many prefixes' couplings are on their way to a program.
    """

    columns: int
    prefixes: int
    lanes: int
    warps: int
    stages: int = 1


#: Of several lanes. Compute capability 9.0 has registers for two such programs, and nearly all stays there.
SEVERAL = Blocks(columns=64, prefixes=64, lanes=64, warps=4)
#: Of one lane, which reads couplings as fast as it can: 16 kB of them for each prefix where T = 32, and room
#: for four programs, so that some read while others add.
ONE = Blocks(columns=128, prefixes=64, lanes=1, warps=4, stages=3)


@dataclass(frozen=True)
class _Plan:
    """The programs of a force.

    Attributes
    ----------
    programs : Tensor of int64, shape (programs, fields)
    rows : int
        Number of rows that they write.
    order, bounds : Tensor
        The rows in the order of their targets, and where those of each target begin and end.
    """

    programs: Tensor
    rows: int
    order: Tensor
    bounds: Tensor


class TritonForce(TorchForce):
    """Forces of the lanes of all samples, from one reading of the couplings.

    For one lane it is a sum of products, in single precision. For more it is matrix products with TF32, of
    which three stand for one in single precision, unless `tf32`.

    Parameters
    ----------
    tiling, data, tf32
        As of `TorchForce`; single precision.
    several, one : Blocks
        For several lanes, and for one.
    """

    def __init__(
        self,
        tiling: Tiling,
        data: Tensor,
        tf32: bool = False,
        several: Blocks = SEVERAL,
        one: Blocks = ONE,
    ) -> None:
        super().__init__(tiling, data, tf32)
        self.several, self.one = several, one
        #: Sites, and behind them prefixes.
        self._targets = tiling.n + len(tiling.prefixes) * (tiling.p > 2)
        self._plans: dict[Blocks, _Plan] = {}

    def sums(self, s: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums f of sites and g of prefixes, float64."""
        with torch.cuda.device_of(s):  # type: ignore[no-untyped-call]
            result = self._result(s.contiguous(), weights.contiguous())
        f, g = result[:, : self.tiling.n], result[:, self.tiling.n :]
        return f, g if self.tiling.p > 2 else result.new_zeros(weights.shape)

    def _result(self, s: Tensor, weights: Tensor) -> Tensor:
        """Return the sums of all targets, shape (samples, targets, lanes), float64."""
        from . import triton_kernels as kernels

        samples, lanes = len(s), s.shape[2]
        blocks = self.one if lanes == 1 else self.several
        plan = self._plan(blocks)
        parts = s.new_empty((samples, plan.rows, lanes))
        result = torch.empty((samples, self._targets, lanes), dtype=torch.float64, device=s.device)
        # A matrix product of Triton has at least 16 columns.
        at_once = 1 if lanes == 1 else min(blocks.lanes, max(16, 1 << (lanes - 1).bit_length()))
        across = -(-lanes // at_once)
        grid, sizes = (len(plan.programs), samples, across), (self.tiling.size, s.shape[1], weights.shape[1])
        given = (self.data, s, weights, parts, plan.programs, *sizes, plan.rows, lanes)
        cut: dict[str, Any] = {"T": self.tiling.rows, "COLUMNS": blocks.columns, "GRADED": self.tiling.p > 2}
        if lanes == 1:
            kernels.multiply_one[grid](*given, **cut, STAGES=blocks.stages, num_warps=blocks.warps)
        else:
            cut |= {"LANES": at_once, "SINGLE": not self.tf32}
            kernels.multiply[grid](*given, **cut, num_warps=blocks.warps)
        kernels.add[(self._targets, samples, across)](
            parts, result, plan.order, plan.bounds, self._targets, plan.rows, lanes,
            ROWS=512 if lanes == 1 else 32, LANES=at_once,
        )  # fmt: skip
        return result

    def _plan(self, blocks: Blocks) -> _Plan:
        if blocks not in self._plans:
            programs, targets = _programs(self.tiling, blocks)
            order = np.argsort(targets, kind="stable")
            bounds = np.searchsorted(targets[order], np.arange(self._targets + 1))
            arrays = (
                torch.from_numpy(a).to(self.data.device) for a in (programs, order.astype(np.int32), bounds)
            )
            on_device = list(arrays)
            self._plans[blocks] = _Plan(on_device[0], len(targets), *on_device[1:])
        return self._plans[blocks]


def _programs(tiling: Tiling, blocks: Blocks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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


def fastest(tiling: Tiling, data: Tensor, tf32: bool, lanes: int) -> TorchForce:
    """Return the forces of so many lanes by the fastest means: in single precision on a card by Triton."""
    plain = TorchForce(tiling, data, tf32)
    by_triton = data.device.type == "cuda" and data.dtype == torch.float32
    return _checked(plain, lanes) if by_triton else plain


def _checked(plain: TorchForce, lanes: int) -> TorchForce:
    """Return the same forces by kernels of Triton, if these are the same; else `plain`, and say so."""
    said = ""
    try:
        from triton.errors import TritonError
    except ImportError as error:
        said = str(error)
    else:
        try:
            force = TritonForce(plain.tiling, plain.data, plain.tf32)
            if not (said := _difference(force, plain, lanes)):
                return force
        except (TritonError, RuntimeError, TypeError, ValueError, AttributeError, OSError) as error:
            said = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".splitlines()[0]
    notices.once("triton", f"the p-spin kernels of Triton are not used, but products of torch ({said})")
    return plain


def _difference(force: TorchForce, plain: TorchForce, lanes: int) -> str:
    """Return what is wrong with the kernels' forces on so many lanes, or nothing."""
    samples, n = len(plain.data), plain.tiling.n
    # The same everywhere, of order 1, and not the same on any two sites.
    x = torch.arange(samples * n * lanes, dtype=torch.float64, device=plain.data.device)
    x = torch.sin(x * x).view(samples, n, lanes)
    expected, found = plain(x), force(x)
    off = float((found - expected).abs().max() / expected.abs().max())
    # Not a number is no agreement, either.
    return "" if off <= ROUNDING[plain.tf32] else f"their forces differ by {off:.1g} of the largest"
