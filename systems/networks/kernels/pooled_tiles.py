"""Innermost loops of the fused convolution, emitted as LLVM vector code.

Two loops hold nearly all operations. Their accumulators stay in registers, which numba's vectoriser does not
manage, and the order of the sums is fixed. A multiply-add is fused where the processor can (`llvm.fmuladd`).

- `pooled_tile`, forward: the lanes are samples. A weight is broadcast and meets the four pixels of a window.
- `event_tile`, backward: the lanes are floats that lie side by side in a channels-last image. It sums over
  the events, the few terms that a gradient reaches, and serves both gradients.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from langevin.systems.compiling import host_has

F32, I8, I32, I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)


_WIDE = host_has("avx512f")
#: How numba compiles the kernels.
OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
#: Samples side by side in a vector of the forward pass.
LANES = 16 if _WIDE else 8 if host_has("avx") else 4
#: Channels that one `pooled_tile` may hold: four accumulators each, in 16 or 32 registers.
CHANNELS = (6, 5, 4) if _WIDE or platform.machine().lower() in ("aarch64", "arm64") else (3, 2)
#: Lanes of `event_tile`; on narrower machines LLVM splits the vectors.
WIDTH = 16
#: Code of a pooled position without a positive maximum; 0 to 3 name the pixel that holds it.
DEAD = 4


def tag(value: int) -> tuple[int, ...]:
    """Encode a number in the length, hence in the numba type, of a tuple."""
    return (0,) * value


def _const(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


class _Vectors:
    """Loads, stores and multiply-adds of float32 vectors of one width."""

    def __init__(self, builder: ir.IRBuilder, width: int):
        self.b, self.width, self.kind = builder, width, ir.VectorType(F32, width)
        signature = ir.FunctionType(self.kind, [self.kind] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.v{width}f32")

    def fma(self, x: ir.Value, y: ir.Value, slot: ir.Value) -> None:
        """Add x y to the accumulator in `slot`."""
        self.b.store(self.b.call(self._fma, [x, y, self.b.load(slot)]), slot)

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.kind, [value] * self.width)

    def broadcast(self, where: ir.Value) -> ir.Value:
        """Return the number at `where` in every lane."""
        undefined = ir.Constant(self.kind, ir.Undefined)
        single = self.b.insert_element(undefined, self.b.load(where), I32(0))
        mask = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        return self.b.shuffle_vector(single, undefined, mask)

    def load(self, where: ir.Value) -> ir.Value:
        return self.b.load(self.b.bitcast(where, self.kind.as_pointer()), align=4)

    def store(self, value: ir.Value, where: ir.Value) -> None:
        self.b.store(value, self.b.bitcast(where, value.type.as_pointer()), align=1)

    def slots(self, values: list[ir.Value]) -> list[ir.Value]:
        """Return accumulators that start at `values`."""
        return [cgutils.alloca_once_value(self.b, value) for value in values]


def _pointers(b: ir.IRBuilder, kind: ir.Type, *addresses: ir.Value) -> list[ir.Value]:
    return [b.inttoptr(address, kind.as_pointer()) for address in addresses]


def _sum_over_kernel(
    v: _Vectors,
    acc: list[list[ir.Value]],
    x: ir.Value,
    w: ir.Value,
    size: list[ir.Value],
    stride: list[ir.Value],
) -> None:
    """Add the products of all weights with the pixels below the four positions."""
    b = v.b
    plane, line, pixel = stride
    corners = [_const(0), pixel, line, b.add(line, pixel)]
    next_line = b.sub(line, b.mul(size[2], pixel))
    next_plane = b.sub(plane, b.mul(size[1], line))
    at, weight = cgutils.alloca_once_value(b, x), cgutils.alloca_once_value(b, w)
    with cgutils.for_range(b, size[0]):
        with cgutils.for_range(b, size[1]):
            with cgutils.for_range(b, size[2]):
                here, row = b.load(at), b.load(weight)
                pixels = [v.load(b.gep(here, [corner])) for corner in corners]
                for channel, sums in enumerate(acc):
                    factor = v.broadcast(b.gep(row, [_const(channel)]))
                    for value, slot in zip(pixels, sums, strict=True):
                        v.fma(value, factor, slot)
                b.store(b.gep(here, [pixel]), at)
                b.store(b.gep(row, [_const(len(acc))]), weight)
            b.store(b.gep(b.load(at), [next_line]), at)
        b.store(b.gep(b.load(at), [next_plane]), at)


def _pool(v: _Vectors, sums: list[ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Return max(0, maximum) and its code; the first of equals wins, and NaN is passed on, as in torch."""
    b, codes = v.b, ir.VectorType(I8, v.width)
    best, code = b.load(sums[0]), ir.Constant(codes, [0] * v.width)
    for k, slot in enumerate(sums[1:], start=1):
        value = b.load(slot)
        better = b.or_(b.fcmp_ordered(">", value, best), b.fcmp_unordered("uno", value, value))
        best = b.select(better, value, best)
        code = b.select(better, ir.Constant(codes, [k] * v.width), code)
    dead = b.fcmp_ordered("<=", best, v.constant(0.0))
    return b.select(dead, v.constant(0.0), best), b.select(dead, ir.Constant(codes, [DEAD] * v.width), code)


@intrinsic
def float_at(typingctx, address):
    """Return the float32 at `address` (uintp)."""

    def codegen(context, b, signature, args):
        return b.load(*_pointers(b, F32, *args))

    return types.float32(types.uintp), codegen


@intrinsic
def pooled_tile(typingctx, x, w, bias, y, code, size, stride, y_step, code_step, channels, lanes):
    """Compute one pooled position of `channels` output channels for `lanes` samples.

    Parameters
    ----------
    x, w, bias, y, code : uintp
        Addresses: of the first pixel of the window, of the weights (input channel, row, column, channel of
        the tile), of the tile's biases, of the first channel's output and of its code.
    size : tuple of 3 int64
        Input channels, kernel rows, kernel columns.
    stride : tuple of 3 int64
        Floats between input channels, lines and pixels.
    y_step, code_step : int64
        Elements between output channels.
    channels, lanes : tuple
        `tag` of these numbers.
    """

    def codegen(context, b, signature, args):
        v = _Vectors(b, len(lanes))
        xp, wp, bp, yp = _pointers(b, F32, *args[:4])
        (cp,) = _pointers(b, I8, args[4])
        numbers = [cgutils.unpack_tuple(b, value, 3) for value in args[5:7]]
        biases = [v.broadcast(b.gep(bp, [_const(c)])) for c in range(len(channels))]
        acc = [v.slots([bias] * 4) for bias in biases]
        _sum_over_kernel(v, acc, xp, wp, *numbers)
        for c, sums in enumerate(acc):
            best, which = _pool(v, sums)
            v.store(best, b.gep(yp, [b.mul(args[7], _const(c))]))
            v.store(which, b.gep(cp, [b.mul(args[8], _const(c))]))
        return context.get_dummy_value()

    address, number = types.uintp, types.int64
    three = types.UniTuple(number, 3)
    return types.void(*[address] * 5, three, three, number, number, channels, lanes), codegen


@intrinsic
def event_tile(typingctx, out, out_step, source, source_step, offsets, gradients, count, rows):
    """Add the sum over events of gradient times source to `rows` vectors of `WIDTH` floats.

    out[r out_step + lane] += Σ_e gradients[e] source[offsets[e] + r source_step + lane]

    Parameters
    ----------
    out, source : uintp
        Addresses of float32.
    out_step, source_step : int64
        Floats between rows.
    offsets, gradients : uintp
        Addresses of int64 and float32, one per event.
    count : int64
        Number of events.
    rows : tuple
        `tag` of the number of rows.
    """

    def codegen(context, b, signature, args):
        v = _Vectors(b, WIDTH)
        numbers = range(len(rows))
        (out, source, gradients), (offsets,) = (
            _pointers(b, F32, args[0], args[2], args[5]),
            _pointers(b, I64, args[4]),
        )
        ends = [b.gep(out, [b.mul(args[1], _const(r))]) for r in numbers]
        shifts = [b.mul(args[3], _const(r)) for r in numbers]
        acc = v.slots([v.load(end) for end in ends])
        with cgutils.for_range(b, args[6]) as loop:
            here = b.gep(source, [b.load(b.gep(offsets, [loop.index]))])
            gradient = v.broadcast(b.gep(gradients, [loop.index]))
            for slot, shift in zip(acc, shifts, strict=True):
                v.fma(v.load(b.gep(here, [shift])), gradient, slot)
        for slot, end in zip(acc, ends, strict=True):
            v.store(b.load(slot), end)
        return context.get_dummy_value()

    address, number = types.uintp, types.int64
    return types.void(address, number, address, number, address, address, number, rows), codegen
