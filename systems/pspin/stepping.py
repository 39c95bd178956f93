"""Compiled loop over force evaluations and Langevin steps of one group of replicas.

One function, `advance`, is entered from Python; it runs alone or in a team of threads that share the slices
of every force.  Slices are claimed in any order but summed in a fixed one, so the team's size does not change
a bit of the result.
"""

from __future__ import annotations

import numba
import numpy as np

from langevin.systems.compiling import fingerprint, njit

from . import couplings, microkernel
from .microkernel import add_block, atomic_add, atomic_load, relax

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
# Rows added in the couplings' precision before the sum moves to float64: keeps the rounding of float32
# partial sums near that of one block, at the cost of one pass over the sites per FLUSH_ROWS rows.
FLUSH_ROWS = 384
# Words of the team's shared memory, a cache line apart.
_ARRIVED, _ROUND, _CLAIMED = 0, 8, 16
SYNC_WORDS = 24
# Spins before a waiting thread offers its core to others, about the length of a short slice.
_PATIENCE = 1000


@numba.njit(**_OPTIONS)
def _slice_force(data, table, first, stop, prefix, end, s, f, total, tag):
    """Write the force of blocks `first` to `stop` to `total`; `f` is zero on entry and on return."""
    total[:] = 0.0
    rows = 0
    for b in range(first, stop):
        row = table.ctypes.data + np.uintp(b * table.shape[1] * 8)
        add_block(data, s, f, row, prefix, end, tag)
        rows += table[b, 2] - table[b, 1]
        if rows >= FLUSH_ROWS or b == stop - 1:
            rows = 0
            for i in range(total.shape[0]):
                for lane in range(total.shape[1]):
                    total[i, lane] += f[i, lane]
                    f[i, lane] = 0.0


@numba.njit(**_OPTIONS)
def _meet(sync, team):
    """Wait until the whole team is here."""
    if team == 1:
        return
    base = sync.ctypes.data
    arrived, turn = base + np.uintp(8 * _ARRIVED), base + np.uintp(8 * _ROUND)
    now = atomic_load(turn)
    if atomic_add(arrived, 1) == team - 1:
        atomic_add(arrived, -team)
        atomic_add(turn, 1)
        return
    spins = 0
    while atomic_load(turn) == now:
        spins += 1
        relax(spins > _PATIENCE)


@numba.njit(fastmath={"reassoc"}, forceinline=True, **_OPTIONS)
def _sum_of_squares(v):
    # Reassociation only lets the additions of one replica run in vector lanes.
    total = 0.0
    for i in range(v.size):
        total += v[i] * v[i]
    return total


@numba.njit(**_OPTIONS)
def _accumulate(kicks, products, site, summed, amplitude):
    """Add one step's own noise k and x k, x before the step, to the sums of one lane."""
    for i in range(site.size):
        k = amplitude * summed[i]
        kicks[i] += k
        products[i] += site[i] * k


@numba.njit(**_OPTIONS)
def _update(x, parts, used, summed, step, pad, dt, amplitude, sums, s):
    """One step of every lane from the slices' forces; leaves the new spins in `x` and `s`."""
    n = x.shape[1]
    for lane in range(x.shape[0]):
        site = x[lane]
        if amplitude > 0.0:
            kick = used[lane, step * n : (step + 1) * n]
            if sums.size > 0:
                own = summed[lane, step * n : (step + 1) * n]
                _accumulate(sums[0, lane], sums[1, lane], site, own, amplitude)
            for i in range(n):
                site[i] = site[i] + dt * parts[0, pad + i, lane] + amplitude * kick[i]
        else:
            for i in range(n):
                site[i] = site[i] + dt * parts[0, pad + i, lane]
        scale = np.sqrt(n / _sum_of_squares(site))
        for i in range(n):
            site[i] *= scale
            s[pad + i, lane] = site[i]


@numba.njit(**_OPTIONS)
def _add_slices(parts, bounds):
    """Sum the slices of each p into its first, in their order, and of several p these into `parts[0]`."""
    flat = parts.reshape(parts.shape[0], -1)
    before = flat.shape[0] - bounds[-1]
    for p in range(bounds.size - 1):
        first = before + bounds[p]
        for k in range(first + 1, before + bounds[p + 1]):
            for i in range(flat.shape[1]):
                flat[first, i] += flat[k, i]
        if before > 0:
            for i in range(flat.shape[1]):
                flat[0, i] = flat[first, i] if p == 0 else flat[0, i] + flat[first, i]


@numba.njit(**_OPTIONS)
def _claimed_slices(data, table, slices, end, s, f, parts, sync, tag):
    """Compute slices until none is left unclaimed."""
    claimed = sync.ctypes.data + np.uintp(8 * _CLAIMED)
    before = parts.shape[0] - slices.shape[0]
    k = atomic_add(claimed, 1)
    while k < slices.shape[0]:
        p, first, stop, prefix = slices[k]
        _slice_force(data[p], table, first, stop, prefix, end, s, f, parts[before + k], tag)
        k = atomic_add(claimed, 1)


def _compile(version):
    @njit(**_OPTIONS)
    def advance(
        data, table, slices, bounds, pad, x, used, summed, n_steps, dt, amplitude, has_force,
        sums, s, f, parts, sync, rank, team, tag,
    ):  # fmt: skip
        """Make `n_steps` steps and evaluate the force after the last; 0 steps: the force alone.

        Parameters
        ----------
        data : ndarray of int64, shape (len(powers),)
            Addresses of the packed couplings of every p.
        table, slices, bounds : ndarray of int64
            As in `Walk`.
        pad : int
            First site of the kernel's arrays that holds a spin.
        x : ndarray, shape (lanes, n), float64
            Spins, replaced by the new ones.
        used : ndarray, shape (lanes, n_steps * n), float64
            What moves the spins, in units of `amplitude`; not read if that is 0.
        summed : ndarray, shape (lanes, n_steps * n), float64
            The normals of the kicks that the sums take (`langevin.core.schemes`).
        n_steps : int
            Number of steps.
        dt, amplitude : float
            Time step and standard deviation of the noise of one step.
        has_force : bool
            Whether ``parts[0]`` already holds the force at `x`.
        sums : ndarray, shape (2, lanes, n), float64
            Sums of the steps' noise k and of x k, added to; left alone if it is empty.
        s : ndarray, shape (sites, lanes)
            Spins in the couplings' precision; zero on the padding.
        f : ndarray, shape (team, sites, lanes)
            Accumulators in the couplings' precision, zero on entry and on return.
        parts : ndarray, shape (forces, sites, lanes), float64
            Forces of the slices; the force after the last step is returned in ``parts[0]``, and those of
            every p where `Walk.force_of` says.
        sync : ndarray of int64, shape (SYNC_WORDS,)
            Zero when the team starts.
        rank, team : int
            This thread and the number of threads, all of which must be running.
        tag : tuple
            `lanes_tag` of the number of lanes.
        """
        if version == 0:
            return
        end = pad + x.shape[1]
        if rank == 0:
            for lane in range(x.shape[0]):
                for i in range(x.shape[1]):
                    s[pad + i, lane] = x[lane, i]
        _meet(sync, team)
        for step in range(n_steps + 1):
            known = has_force and step == 0
            if not known:
                _claimed_slices(data, table, slices, end, s, f[rank], parts, sync, tag)
                _meet(sync, team)
            if rank == 0:
                if not known:
                    _add_slices(parts, bounds)
                if step < n_steps:
                    _update(x, parts, used, summed, step, pad, dt, amplitude, sums, s)
                sync[_CLAIMED] = 0
            _meet(sync, team)

    return advance


advance = _compile(fingerprint(couplings.__file__, microkernel.__file__, __file__))
