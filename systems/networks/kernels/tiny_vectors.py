"""The two products that tiny nets are made of, emitted as LLVM vector code.

- `combine`: every row of the result is a weighted sum of rows. Weights times activations, batch innermost.
- `dots`: all scalar products of two sets of rows. A gradient: δ times activations, summed over the batch.

A block of up to 4 rows (of 4 × 4 products) has its accumulators in registers while the innermost loop runs,
which numba's vectoriser does not manage. Sums are fused and in a fixed order; only how many lanes a vector
has depends on the processor.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from langevin.systems.compiling import host_has

I32, I64 = ir.IntType(32), ir.IntType(64)


_WIDE = host_has("avx512f")
#: Bytes of a vector; rows of a batch are padded to it.
VECTOR = 64 if _WIDE else 32
#: Rows, or products along each side, of a block: its accumulators fill half of the registers.
BLOCK = 4 if _WIDE else 2


def _const(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


class _Emitter:
    """Loads, stores and sums of vectors of one element type."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type) -> None:
        self.b, self.element = builder, element
        self.bytes = 4 if isinstance(element, ir.FloatType) else 8
        self.lanes = VECTOR // self.bytes

    def kind(self, width: int) -> ir.Type:
        return self.element if width == 1 else ir.VectorType(self.element, width)

    def pointer(self, address: ir.Value) -> ir.Value:
        return self.b.inttoptr(address, self.element.as_pointer())

    def at(self, base: ir.Value, *terms: tuple[ir.Value, ir.Value]) -> ir.Value:
        """Return base + Σ index·stride."""
        place = _const(0)
        for index, stride in terms:
            place = self.b.add(place, self.b.mul(index, stride))
        return self.b.gep(base, [place])

    def load(self, where: ir.Value, width: int) -> ir.Value:
        if width > 1:
            where = self.b.bitcast(where, self.kind(width).as_pointer())
        return self.b.load(where, align=self.bytes)

    def store(self, value: ir.Value, where: ir.Value, width: int) -> None:
        if width > 1:
            where = self.b.bitcast(where, self.kind(width).as_pointer())
        self.b.store(value, where, align=self.bytes)

    def spread(self, scalar: ir.Value, width: int) -> ir.Value:
        """Return a scalar in every lane."""
        if width == 1:
            return scalar
        undefined = ir.Constant(self.kind(width), ir.Undefined)
        single = self.b.insert_element(undefined, scalar, I32(0))
        mask = ir.Constant(ir.VectorType(I32, width), [0] * width)
        return self.b.shuffle_vector(single, undefined, mask)

    def zero(self, width: int) -> ir.Value:
        return ir.Constant(self.kind(width), 0.0 if width == 1 else [0.0] * width)

    def _name(self, width: int) -> str:
        return ("" if width == 1 else f"v{width}") + f"f{8 * self.bytes}"

    def add_product(self, x: ir.Value, y: ir.Value, slot: ir.Value, width: int) -> None:
        """Add x y to what a slot holds."""
        kind = self.kind(width)
        function = cgutils.get_or_insert_function(
            self.b.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.{self._name(width)}"
        )
        self.b.store(self.b.call(function, [x, y, self.b.load(slot)]), slot)

    def shuffle(self, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))

    def totals(self, vectors: list[ir.Value]) -> ir.Value:
        """Return a vector of the sums of the lanes of each; their number is a power of two, up to the lanes.

        Two vectors become one that holds half sums of both in turn, and so on: all sums together take little
        more than a single one.
        """
        count, width, lanes = len(vectors), 1, self.lanes
        while len(vectors) > 1:
            low = [lane for lane in range(lanes) if lane // width % 2 == 0]
            high = [lane for lane in range(lanes) if lane // width % 2 == 1]
            merged = []
            for x, y in zip(vectors[::2], vectors[1::2], strict=True):
                parts = []
                for half in (low, high):
                    cuts = [half[k : k + width] for k in range(0, lanes // 2, width)]
                    parts.append([n for cut in cuts for n in [*cut, *(lanes + m for m in cut)]])
                merged.append(self.b.fadd(*(self.shuffle(x, y, part) for part in parts)))
            vectors, width = merged, 2 * width
        (total,) = vectors
        while lanes > count:
            lanes //= 2
            total = self.b.fadd(*(self.shuffle(total, total, list(range(k, k + lanes))) for k in (0, lanes)))
        return total

    def blocks(self, count: ir.Value, body: Callable[[ir.Value, int], None]) -> None:
        """Emit body(first, rows) for whole blocks, and for what is left."""
        whole = self.b.udiv(count, _const(BLOCK))
        with cgutils.for_range(self.b, whole) as loop:
            body(self.b.mul(loop.index, _const(BLOCK)), BLOCK)
        # Of what is left, by halves: 3 rows are 2 and 1.
        rows = BLOCK // 2
        while rows:
            some = self.b.and_(count, _const(rows))
            first = self.b.and_(count, _const(-2 * rows))
            with self.b.if_then(self.b.icmp_unsigned("!=", some, _const(0))):
                body(first, rows)
            rows //= 2

    def spans(self, length: ir.Value, widths: tuple[int, ...], body: Callable[[ir.Value, int], None]) -> None:
        """Emit body(start, width) along a row: the widest first, the last for what is left."""
        done = _const(0)
        for width in widths:
            count = self.b.udiv(self.b.sub(length, done), _const(width))
            with cgutils.for_range(self.b, count) as loop:
                body(self.b.add(done, self.b.mul(loop.index, _const(width))), width)
            done = self.b.add(done, self.b.mul(count, _const(width)))


def _emit_combine(e: _Emitter, out, out_step, x, x_step, w, w_row, w_column, bias, rows, terms, length):
    """Emit out_j = bias_j + Σ_i w_ji x_i for all rows j; without bias its address is 0."""
    b = e.b
    biased = b.icmp_unsigned("!=", bias, _const(0))
    out, x, w, bias = (e.pointer(v) for v in (out, x, w, bias))

    def block(first: ir.Value, size: int) -> None:
        numbers = [b.add(first, _const(r)) for r in range(size)]
        starts = []
        for j in numbers:
            slot = cgutils.alloca_once_value(b, e.zero(1))
            b.store(e.zero(1), slot)
            with b.if_then(biased):
                b.store(e.load(b.gep(bias, [j]), 1), slot)
            starts.append(b.load(slot))

        def span(start: ir.Value, width: int) -> None:
            sums = [cgutils.alloca_once(b, e.kind(width)) for _ in numbers]
            for slot, value in zip(sums, starts, strict=True):
                b.store(e.spread(value, width), slot)
            with cgutils.for_range(b, terms) as loop:
                value = e.load(e.at(x, (loop.index, x_step), (start, _const(1))), width)
                for j, slot in zip(numbers, sums, strict=True):
                    weight = e.load(e.at(w, (j, w_row), (loop.index, w_column)), 1)
                    e.add_product(e.spread(weight, width), value, slot, width)
            for j, slot in zip(numbers, sums, strict=True):
                e.store(b.load(slot), e.at(out, (j, out_step), (start, _const(1))), width)

        e.spans(length, (2 * e.lanes, e.lanes, 1), span)

    e.blocks(rows, block)


def _emit_dots(e: _Emitter, out, out_step, x, x_step, y, y_step, rows, columns, length):
    """Emit out_ji = Σ_b x_jb y_ib for all rows j and columns i."""
    b = e.b
    out, x, y = (e.pointer(v) for v in (out, x, y))

    def block_of_rows(j: ir.Value, size_j: int) -> None:
        def block(i: ir.Value, size_i: int) -> None:
            left, right = ([b.add(k, _const(r)) for r in range(n)] for k, n in ((j, size_j), (i, size_i)))
            sums = {
                w: [[cgutils.alloca_once(b, e.kind(w)) for _ in right] for _ in left] for w in (1, e.lanes)
            }
            for width, table in sums.items():
                for slot in (slot for line in table for slot in line):
                    b.store(e.zero(width), slot)

            def span(start: ir.Value, width: int) -> None:
                xs = [e.load(e.at(x, (k, x_step), (start, _const(1))), width) for k in left]
                ys = [e.load(e.at(y, (k, y_step), (start, _const(1))), width) for k in right]
                for line, value in zip(sums[width], xs, strict=True):
                    for slot, other in zip(line, ys, strict=True):
                        e.add_product(value, other, slot, width)

            e.spans(length, (e.lanes, 1), span)
            slots = [slot for line in sums[e.lanes] for slot in line]
            with b.if_then(b.icmp_unsigned("!=", b.urem(length, _const(e.lanes)), _const(0))):
                # What is beyond the last whole vector joins one of its lanes.
                for slot, single in zip(slots, (slot for line in sums[1] for slot in line), strict=True):
                    vector = b.load(slot)
                    with_rest = b.fadd(b.extract_element(vector, I32(0)), b.load(single))
                    b.store(b.insert_element(vector, with_rest, I32(0)), slot)
            for first in range(0, len(slots), e.lanes):
                some = slots[first : first + e.lanes]
                totals = e.totals([b.load(slot) for slot in some])
                for n in range(len(some)):
                    place = e.at(
                        out, (left[(first + n) // size_i], out_step), (right[(first + n) % size_i], _const(1))
                    )
                    value = b.extract_element(totals, I32(n))
                    e.store(value, place, 1)

        e.blocks(columns, block)

    e.blocks(rows, block_of_rows)


def _signature(like: types.Type, count: int) -> types.Type | None:
    """Return the type of an intrinsic of `like` and integers; None if `like` is no float."""
    if like not in (types.float32, types.float64):
        return None
    return types.void(like, *[types.int64] * count)


@intrinsic
def _combine(typingctx, like, out, out_step, x, x_step, w, w_row, w_column, bias, rows, terms, length):
    def codegen(context, builder, signature, args):
        _emit_combine(_Emitter(builder, context.get_value_type(like)), *args[1:])
        return context.get_dummy_value()

    signature = _signature(like, 11)
    return None if signature is None else (signature, codegen)


@intrinsic
def _dots(typingctx, like, out, out_step, x, x_step, y, y_step, rows, columns, length):
    def codegen(context, builder, signature, args):
        _emit_dots(_Emitter(builder, context.get_value_type(like)), *args[1:])
        return context.get_dummy_value()

    signature = _signature(like, 9)
    return None if signature is None else (signature, codegen)


# Functions of their own, so that each is compiled once, not wherever it is called.


@numba.njit(nogil=True)
def combine(like, out, out_step, x, x_step, w, w_row, w_column, bias, rows, terms, length):
    """Write bias_j + Σ_i w_ji x_i to row j of `out`.

    Parameters
    ----------
    like : float
        Of the type of all arrays.
    out, x, w, bias : int64
        Addresses; a bias of 0 is none.
    out_step, x_step : int64
        Elements from row to row.
    w_row, w_column : int64
        Elements from w_ji to w_{j+1,i}, and to w_{j,i+1}.
    rows, terms, length : int64
        Numbers of j, of i, and of elements in a row.
    """
    _combine(like, out, out_step, x, x_step, w, w_row, w_column, bias, rows, terms, length)


@numba.njit(nogil=True)
def dots(like, out, out_step, x, x_step, y, y_step, rows, columns, length):
    """Write Σ_b x_jb y_ib to out_ji.

    Parameters
    ----------
    like : float
        Of the type of all arrays.
    out, x, y : int64
        Addresses.
    out_step, x_step, y_step : int64
        Elements from row to row.
    rows, columns, length : int64
        Numbers of j, of i, and of elements in a row.
    """
    _dots(like, out, out_step, x, x_step, y, y_step, rows, columns, length)
