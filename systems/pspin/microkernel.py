"""Force of one block of couplings, emitted as LLVM vector code.

A block is a prefix P with rows of a strictly upper-triangular matrix A (see `couplings`).  With w the product
of the spins of P and q = sum_{j<k} s_j A_jk s_k, the block contributes

    F_j += w sum_k A_jk s_k,    F_k += w sum_j s_j A_jk,    F_i += q prod_{h in P, h != i} s_h.

Two FMAs per coupling and replica are the minimum for a symmetric product.  Numba's vectoriser does not keep
the accumulators of a tile in registers, hence the explicit vectors here.  Every FMA is explicit and the order
is fixed, so a replica's bits depend neither on its lane nor on what the other lanes hold.

With several replicas the lanes of a vector are replicas, and one coupling is broadcast to all of them.  A
single replica takes the columns of a tile as lanes.  Both read the same packed array.

The number of lanes is part of the type of an argument (see `lanes_tag`), so one function serves all.
"""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from langevin.systems.compiling import host_has

from .couplings import TILE

I32 = ir.IntType(32)
I64 = ir.IntType(64)


# Without hardware FMA the LLVM intrinsic becomes a slow library call.
_HAS_FMA = host_has("fma") or not host_has("sse2")
_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
_IS_POSIX = os.name == "posix"
_VECTOR_BYTES = 64 if host_has("avx512f") else 32


def max_lanes(itemsize: int) -> int:
    """Replicas that one vector register holds, for couplings of `itemsize` bytes."""
    return _VECTOR_BYTES // itemsize


def lanes_tag(lanes: int) -> tuple[int, ...]:
    """Encode a power of two in the length, hence in the numba type, of a tuple."""
    return (0,) * lanes.bit_length()


class _Block(NamedTuple):
    """IR values shared by the emitters: builder, element type, lanes and the kernel's arguments."""

    b: ir.IRBuilder
    elem: ir.Type
    lanes: int
    s: ir.Value
    f: ir.Value
    end: ir.Value

    def vector(self, width: int) -> ir.Type:
        return self.elem if width == 1 else ir.VectorType(self.elem, width)

    def at(self, base: ir.Value, index: ir.Value, width: int) -> ir.Value:
        where = self.b.gep(base, [index])
        return where if width == 1 else self.b.bitcast(where, self.vector(width).as_pointer())

    def load(self, base: ir.Value, index: ir.Value, width: int, align: int | None = None) -> ir.Value:
        return self.b.load(self.at(base, index, width), align=align or self.itemsize)

    def store(
        self, value: ir.Value, base: ir.Value, index: ir.Value, width: int, align: int | None = None
    ) -> None:
        self.b.store(value, self.at(base, index, width), align=align or self.itemsize)

    @property
    def itemsize(self) -> int:
        return 4 if isinstance(self.elem, ir.FloatType) else 8

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        if not _HAS_FMA:
            return self.b.fadd(self.b.fmul(x, y), z)
        kind = f"f{8 * self.itemsize}"
        if isinstance(x.type, ir.VectorType):
            kind = f"v{x.type.count}{kind}"
        signature = ir.FunctionType(x.type, [x.type] * 3)
        function = cgutils.get_or_insert_function(self.b.module, signature, f"llvm.fma.{kind}")
        return self.b.call(function, [x, y, z])

    def broadcast(self, scalar: ir.Value, width: int) -> ir.Value:
        if width == 1:
            return scalar
        kind = self.vector(width)
        single = self.b.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
        mask = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return self.b.shuffle_vector(single, ir.Constant(kind, ir.Undefined), mask)

    def zero(self, width: int) -> ir.Value:
        kind = self.vector(width)
        return ir.Constant(kind, 0.0 if width == 1 else [0.0] * width)


def _const(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


def _shuffle(b: ir.IRBuilder, x: ir.Value, y: ir.Value, order: list[int]) -> ir.Value:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(order)), order))


def _row_sums(b: ir.IRBuilder, rows: list[ir.Value]) -> ir.Value:
    """Vector of the horizontal sums of TILE vectors of TILE columns, by pairwise interleaved additions."""
    width = 1
    while len(rows) > 1:
        # Each vector holds, per group of 2 * width lanes, partial sums of `width` rows, twice.
        low = [lane for lane in range(TILE) if lane // width % 2 == 0]
        high = [lane for lane in range(TILE) if lane // width % 2 == 1]
        merged = []
        for x, y in zip(rows[0::2], rows[1::2], strict=True):
            first, second = [], []
            for g in range(TILE // (2 * width)):
                cut = slice(g * width, (g + 1) * width)
                first += low[cut] + [TILE + lane for lane in low[cut]]
                second += high[cut] + [TILE + lane for lane in high[cut]]
            merged.append(b.fadd(_shuffle(b, x, y, first), _shuffle(b, x, y, second)))
        rows = merged
        width *= 2
    return rows[0]


def _runs(k: _Block, rows: int, j: ir.Value) -> tuple[ir.Value, ir.Value]:
    """First column of a tile and its number of runs of TILE columns."""
    first = k.b.sub(j, _const(TILE - 1 - rows))
    return first, k.b.lshr(k.b.sub(k.end, first), _const(3))


def _accumulators(k: _Block, rows: int, width: int) -> list[ir.Value]:
    slots = [cgutils.alloca_once(k.b, k.vector(width)) for _ in range(rows)]
    for slot in slots:
        k.b.store(k.zero(width), slot)
    return slots


def _tile_of_replicas(k: _Block, rows: int, tile: ir.Value, j: ir.Value, w: ir.Value, q: ir.Value) -> None:
    """One tile with replicas as lanes: d_j += a s_k in registers, F_k += a (w s_j) in memory."""
    b, lanes = k.b, k.lanes
    align = lanes * k.itemsize
    site = [b.mul(b.add(j, _const(r)), _const(lanes)) for r in range(rows)]
    weighted = [b.fmul(w, k.load(k.s, site[r], lanes, align)) for r in range(rows)]
    sums = _accumulators(k, rows, lanes)
    first, runs = _runs(k, rows, j)
    with cgutils.for_range(b, runs) as run, cgutils.for_range(b, _const(TILE)) as column:
        here = b.add(first, b.add(b.mul(run.index, _const(TILE)), column.index))
        at = b.mul(here, _const(lanes))
        start = b.add(b.mul(run.index, _const(rows * TILE)), column.index)
        s_k, f_k = k.load(k.s, at, lanes, align), k.load(k.f, at, lanes, align)
        for r in range(rows):
            a = k.broadcast(k.load(tile, b.add(start, _const(r * TILE)), 1), lanes)
            b.store(k.fma(a, s_k, b.load(sums[r])), sums[r])
            f_k = k.fma(a, weighted[r], f_k)
        k.store(f_k, k.f, at, lanes, align)
    total = b.load(q)
    for r in range(rows):
        d = b.load(sums[r])
        k.store(k.fma(w, d, k.load(k.f, site[r], lanes, align)), k.f, site[r], lanes, align)
        total = k.fma(k.load(k.s, site[r], lanes, align), d, total)
    b.store(total, q)


def _tile_of_columns(k: _Block, rows: int, tile: ir.Value, j: ir.Value, w: ir.Value, q: ir.Value) -> None:
    """One tile of a single replica with columns as lanes."""
    b = k.b
    align = TILE * k.itemsize
    weighted = []
    for r in range(rows):
        s_j = k.load(k.s, b.add(j, _const(r)), 1)
        weighted.append(k.broadcast(b.fmul(w, s_j), TILE))
    sums = _accumulators(k, rows, TILE)
    first, runs = _runs(k, rows, j)
    with cgutils.for_range(b, runs) as run:
        at = b.add(first, b.mul(run.index, _const(TILE)))
        start = b.mul(run.index, _const(rows * TILE))
        s_k, f_k = k.load(k.s, at, TILE, align), k.load(k.f, at, TILE, align)
        for r in range(rows):
            a = k.load(tile, b.add(start, _const(r * TILE)), TILE, align)
            b.store(k.fma(a, s_k, b.load(sums[r])), sums[r])
            f_k = k.fma(a, weighted[r], f_k)
        k.store(f_k, k.f, at, TILE, align)
    d = _row_sums(b, [b.load(slot) for slot in sums] + [k.zero(TILE)] * (TILE - rows))
    f_j = k.load(k.f, j, TILE)
    k.store(k.fma(k.broadcast(w, TILE), d, f_j), k.f, j, TILE)
    b.store(k.fma(k.load(k.s, j, TILE), d, b.load(q)), q)


def _tiles(k: _Block, data: ir.Value, j0: ir.Value, j1: ir.Value, w: ir.Value, q: ir.Value) -> None:
    """All tiles of a block: a short first one if the rows demand it, then whole ones."""
    b = k.b
    emit = _tile_of_columns if k.lanes == 1 else _tile_of_replicas
    j_slot, tile_slot = cgutils.alloca_once(b, I64), cgutils.alloca_once(b, data.type)
    b.store(j0, j_slot)
    b.store(data, tile_slot)

    def advance(rows: int) -> None:
        j, tile = b.load(j_slot), b.load(tile_slot)
        emit(k, rows, tile, j, w, q)
        _, runs = _runs(k, rows, j)
        b.store(b.gep(tile, [b.mul(runs, _const(rows * TILE))]), tile_slot)
        b.store(b.add(j, _const(rows)), j_slot)

    whole = b.append_basic_block("whole")
    short = b.and_(b.sub(b.sub(k.end, _const(1)), j0), _const(TILE - 1))
    choice = b.switch(short, whole)
    for rows in range(1, TILE):
        case = b.append_basic_block(f"short{rows}")
        choice.add_case(_const(rows), case)
        b.position_at_end(case)
        advance(rows)
        b.branch(whole)
    b.position_at_end(whole)
    left = b.lshr(b.sub(j1, b.load(j_slot)), _const(3))
    with cgutils.for_range(b, left):
        advance(TILE)


def _product(
    k: _Block, prefix: ir.Value, count: ir.Value, start: ir.Value, skip: ir.Value | None
) -> ir.Value:
    """Return `start` times the spins of the prefix, except that at position `skip`."""
    b = k.b
    slot = cgutils.alloca_once(b, start.type)
    b.store(start, slot)
    with cgutils.for_range(b, count) as loop:
        site = b.mul(b.load(b.gep(prefix, [loop.index])), _const(k.lanes))
        value = b.fmul(b.load(slot), k.load(k.s, site, k.lanes))
        if skip is not None:
            value = b.select(b.icmp_signed("==", loop.index, skip), b.load(slot), value)
        b.store(value, slot)
    return b.load(slot)


def _emit_block(k: _Block, data: ir.Value, row: ir.Value, prefix_length: ir.Value) -> None:
    b = k.b
    offset, j0, j1 = (b.load(b.gep(row, [_const(i)])) for i in range(3))
    prefix = b.gep(row, [_const(3)])
    w = _product(k, prefix, prefix_length, k.broadcast(ir.Constant(k.elem, 1.0), k.lanes), None)
    width = TILE if k.lanes == 1 else k.lanes
    q = cgutils.alloca_once(b, k.vector(width))
    b.store(k.zero(width), q)
    _tiles(k, b.gep(data, [offset]), j0, j1, w, q)
    total = b.load(q)
    if k.lanes == 1:
        total = b.extract_element(_row_sums(b, [total] + [k.zero(TILE)] * (TILE - 1)), I32(0))
    with cgutils.for_range(b, prefix_length) as loop:
        site = b.mul(b.load(b.gep(prefix, [loop.index])), _const(k.lanes))
        gain = _product(k, prefix, prefix_length, total, loop.index)
        k.store(b.fadd(k.load(k.f, site, k.lanes), gain), k.f, site, k.lanes)


@intrinsic
def add_block(typingctx, data, s, f, row, prefix_length, end, tag):
    """Add the force of one block to `f`.

    Parameters
    ----------
    data : uintp
        Address of the packed couplings.
    s, f : ndarray, shape (sites, lanes)
        Spins and force in the precision of the couplings.
    row : uintp
        Address of the block's row of `Packing.table`.
    prefix_length : int64
        p - 2.
    end : int64
        Shifted end of the sites, pad + n.
    tag : tuple
        `lanes_tag` of the number of lanes.
    """
    if not isinstance(s, types.Array) or s != f:
        return None
    lanes = 1 << (len(tag) - 1)

    def codegen(context, builder, signature, args):
        elem = context.get_value_type(s.dtype)
        base = [cgutils.create_struct_proxy(s)(context, builder, value=v).data for v in args[1:3]]
        kernel = _Block(builder, elem, lanes, *base, args[5])
        couplings = builder.inttoptr(args[0], elem.as_pointer())
        row_ptr = builder.inttoptr(args[3], I64.as_pointer())
        _emit_block(kernel, couplings, row_ptr, args[4])
        return context.get_dummy_value()

    return types.void(types.uintp, s, f, types.uintp, types.int64, types.int64, tag), codegen


@intrinsic
def atomic_add(typingctx, address, value):
    """Add `value` to the int64 at `address` (uintp) and return what was there."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.uintp, types.int64), codegen


@intrinsic
def atomic_load(typingctx, address):
    """Return the int64 at `address` (uintp), as last written by any thread."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.uintp), codegen


@intrinsic
def relax(typingctx, give_up):
    """Pause a spinning thread briefly; hand the core back to the system if `give_up` (boolean)."""

    def codegen(context, builder, signature, args):
        if _IS_X86:
            hint = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, hint, "llvm.x86.sse2.pause"), [])
        if _IS_POSIX:
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), "sched_yield")
            with builder.if_then(args[0]):
                builder.call(function, [])
        return context.get_dummy_value()

    return types.void(types.boolean), codegen
