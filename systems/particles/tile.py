"""Pair forces of one particle with clusters of eight, emitted as LLVM vector code.

Positions and forces lie in records of 24 numbers, x, y and z of the eight particles of a cluster one after
the other, so that a pair of a particle and a cluster needs no gather: three loads bring eight neighbours.
Beside every record stands one of parameters, for each species of the particle: σ², the force constant and
the square of the listing radius of its eight pairs.

With u = σ²/r² and cutoff x_c in units of σ, pairs with u > 1/x_c² feel the force w·(r_i − r_j),

    Lennard-Jones (WCA too)   w = K u⁴ (2u³ − 1),   K = 24 ε/σ²,   V = K σ²/6 [u⁶ − u³ − (x_c⁻¹² − x_c⁻⁶)],
    harmonic spheres          w = K (√u − 1),       K = ε/σ²,      V = K σ²/2 (1 − 1/√u)².

Every fused multiply-add is explicit and the order of all sums is fixed, so the bits do not depend on the
processor. A vector of eight doubles is one register of AVX-512 or two of AVX.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from langevin.systems.compiling import host_has

#: Particles in a cluster.
LANES = 8
#: Numbers in a record.
RECORD = 3 * LANES
#: What `cluster_row` and `own_cluster` add up: force (3), energy, virial, and the largest u.
SUMS = 6

LENNARD_JONES, HARMONIC = 0, 1

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
# Without hardware FMA the LLVM intrinsic becomes a slow library call.
_HAS_FMA = host_has("fma") or not host_has("sse2")


def _all(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


class _Emitter:
    """Short names for the instructions of one function."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        if not _HAS_FMA:
            return self.b.fadd(self.b.fmul(x, y), z)
        return self.call("llvm.fma.v8f64", _VECTOR, x, y, z)

    def call(self, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [a.type for a in args])
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), args)

    def spread(self, scalar: ir.Value) -> ir.Value:
        single = self.b.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, _I32(0))
        return self.b.shuffle_vector(
            single, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
        )

    def place(self, address: ir.Value, vector: int) -> ir.Value:
        """Return a pointer to one vector of the record at an address."""
        moved = self.b.add(address, ir.Constant(_I64, vector * LANES * 8))
        return self.b.inttoptr(moved, _VECTOR.as_pointer())

    def load(self, address: ir.Value, vector: int) -> ir.Value:
        return self.b.load(self.place(address, vector), align=64)

    def store(self, value: ir.Value, address: ir.Value, vector: int) -> None:
        self.b.store(value, self.place(address, vector), align=64)

    def total(self, v: ir.Value, combine: str) -> ir.Value:
        """Return the sum ("add") or the maximum ("max") of the lanes, by halves."""
        b, width = self.b, LANES
        while width > 1:
            width //= 2
            kind = ir.Constant(ir.VectorType(_I32, LANES), [(k + width) % LANES for k in range(LANES)])
            other = b.shuffle_vector(v, v, kind)
            v = b.fadd(v, other) if combine == "add" else self.call("llvm.maxnum.v8f64", _VECTOR, v, other)
        return b.extract_element(v, _I32(0))


class _Pairs:
    """The pairs of a particle with clusters: what is known of the particle, and the running sums."""

    def __init__(self, e: _Emitter, form: int, energy: bool, xyz: list[ir.Value], bound: ir.Value) -> None:
        self.e, self.form, self.energy = e, form, energy
        self.at = [e.spread(v) for v in xyz]
        self.bound = e.spread(bound)
        count = SUMS if energy else 3
        self.sums = [cgutils.alloca_once(e.b, _VECTOR) for _ in range(count)]
        for slot in self.sums:
            e.b.store(_all(0.0), slot)

    def add(self, position: ir.Value, table: ir.Value, force: ir.Value | None, shift: ir.Value) -> None:
        """Add the pairs with one cluster; without `force` the particle is in it, and gets its half."""
        e, b = self.e, self.e.b
        d = [b.fsub(at, e.load(position, k)) for k, at in enumerate(self.at)]
        r2 = e.fma(d[0], d[0], e.fma(d[1], d[1], b.fmul(d[2], d[2])))
        u = b.fdiv(e.load(table, 0), r2)
        near = b.fcmp_ordered(">", u, self.bound)
        if force is None:
            near = b.and_(near, b.fcmp_ordered(">", r2, _all(0.0)))
        u3 = b.fmul(b.fmul(u, u), u)
        constant = e.load(table, 1)
        weight = self._weight(u, u3)
        w = b.select(near, b.fmul(constant, weight), _all(0.0))
        for slot, component in zip(self.sums[:3], d, strict=True):
            b.store(e.fma(w, component, b.load(slot)), slot)
        if force is not None:
            minus = b.fneg(w)
            for k, component in enumerate(d):
                e.store(e.fma(minus, component, e.load(force, k)), force, k)
        if self.energy:
            self._measure(near, constant, u, u3, w, r2, shift, 0.5 if force is None else 1.0)

    def _weight(self, u: ir.Value, u3: ir.Value) -> ir.Value:
        e, b = self.e, self.e.b
        if self.form == HARMONIC:
            return b.fsub(e.call("llvm.sqrt.v8f64", _VECTOR, u), _all(1.0))
        return b.fmul(b.fmul(u3, u), e.fma(u3, _all(2.0), _all(-1.0)))

    def _measure(
        self,
        near: ir.Value,
        constant: ir.Value,
        u: ir.Value,
        u3: ir.Value,
        w: ir.Value,
        r2: ir.Value,
        shift: ir.Value,
        share: float,
    ) -> None:
        """Add energy and virial; keep the largest u, of the closest pair."""
        e, b = self.e, self.e.b
        # K σ², with σ² = u r².
        scale = b.fmul(constant, b.fmul(u, r2))
        if self.form == HARMONIC:
            gap = b.fsub(_all(1.0), b.fdiv(_all(1.0), e.call("llvm.sqrt.v8f64", _VECTOR, u)))
            value = b.fmul(b.fmul(_all(share / 2), scale), b.fmul(gap, gap))
        else:
            shape = b.fsub(e.fma(u3, u3, b.fneg(u3)), shift)
            value = b.fmul(b.fmul(_all(share / 6), scale), shape)
        energy = b.select(near, value, _all(0.0))
        b.store(b.fadd(b.load(self.sums[3]), energy), self.sums[3])
        virial = b.fmul(_all(share), b.fmul(w, r2))
        b.store(b.fadd(b.load(self.sums[4]), virial), self.sums[4])
        closest = b.select(near, u, _all(0.0))
        b.store(e.call("llvm.maxnum.v8f64", _VECTOR, b.load(self.sums[5]), closest), self.sums[5])

    def finish(self, out: ir.Value) -> None:
        """Add the sums to the numbers at `out`; the last of them is a maximum."""
        e, b = self.e, self.e.b
        for k, slot in enumerate(self.sums):
            combine = "max" if k == SUMS - 1 else "add"
            value = e.total(b.load(slot), combine)
            place = b.inttoptr(b.add(out, ir.Constant(_I64, 8 * k)), _DOUBLE.as_pointer())
            before = b.load(place)
            if combine == "max":
                value = e.call("llvm.maxnum.f64", _DOUBLE, before, value)
            else:
                value = b.fadd(before, value)
            b.store(value, place)


def _parts(tag: types.Type) -> tuple[int, bool]:
    """Return form and energy from a tag."""
    code = len(tag) - 1
    return code // 2, bool(code % 2)


def tag(form: int, energy: bool) -> tuple[int, ...]:
    """Encode what is to be computed in the length, hence in the numba type, of a tuple."""
    return (0,) * (1 + 2 * form + int(energy))


_ROW = (types.uintp,) * 4 + (types.int64,) * 2 + (types.float64,) * 5 + (types.uintp,)


@intrinsic
def cluster_row(typingctx, position, force, table, entries, count, own, x, y, z, bound, shift, out, kind):
    """Add the pairs of one particle with its own cluster and with the clusters of its row.

    Pairs within a cluster come twice, once for each of the two: they are counted by halves, and act on the
    particle alone.

    Parameters
    ----------
    position, force, table : uintp
        Addresses of the records of all images; the table is that of the particle's species. To the forces
        of the clusters what they feel is added.
    entries : uintp
        Address of the row: indices of clusters, uint32.
    count : int64
        Length of the row.
    own : int64
        Index of the cluster in which the particle is; it is not in the row.
    x, y, z : float64
        Position of the particle.
    bound, shift : float64
        1/x_c², and x_c⁻¹² − x_c⁻⁶ of a Lennard-Jones potential.
    out : uintp
        Address of numbers to which the sums are added: force (3), and with energy the energy, the virial
        Σ w r², and the largest u, which is a maximum.
    kind : tuple
        `tag` of form and energy.
    """
    form, energy = _parts(kind)

    def codegen(context, builder, signature, args):
        e = _Emitter(builder)
        pairs = _Pairs(e, form, energy, args[6:9], args[9])
        shift_all = e.spread(args[10])
        size = ir.Constant(_I64, RECORD * 8)
        offset = builder.mul(args[5], size)
        pairs.add(builder.add(args[0], offset), builder.add(args[2], offset), None, shift_all)
        row = builder.inttoptr(args[3], _I32.as_pointer())
        with cgutils.for_range(builder, args[4]) as loop:
            cluster = builder.zext(builder.load(builder.gep(row, [loop.index])), _I64)
            offset = builder.mul(cluster, size)
            places = [builder.add(base, offset) for base in args[:3]]
            pairs.add(places[0], places[2], places[1], shift_all)
        pairs.finish(args[11])
        return context.get_dummy_value()

    return types.void(*_ROW, kind), codegen


@intrinsic
def any_listed(typingctx, position, table, x, y, z):
    """Return whether any pair of a particle with a cluster lies within its listing radius.

    `position` and `table` are the addresses of the cluster's records.
    """

    def codegen(context, builder, signature, args):
        e = _Emitter(builder)
        d = [builder.fsub(e.spread(at), e.load(args[0], k)) for k, at in enumerate(args[2:5])]
        r2 = e.fma(d[0], d[0], e.fma(d[1], d[1], builder.fmul(d[2], d[2])))
        inside = builder.fcmp_ordered("<", r2, e.load(args[1], 2))
        bits = builder.bitcast(inside, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(types.uintp, types.uintp, *(types.float64,) * 3), codegen
