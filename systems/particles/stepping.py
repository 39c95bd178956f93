"""Compiled loop over forces and steps of one replica, and over the lists that they need."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from langevin.systems.compiling import fingerprint, njit

from . import clusters, tile
from .clusters import DONE, FULL, LOST, fill_records, list_neighbours, make_images, place_particles
from .tile import LANES, RECORD, SUMS, cluster_row

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}


@numba.njit(**_OPTIONS)
def _build(x, frame, species, parameters, work):
    """Build clusters, images and rows for the positions x; return DONE, FULL or LOST, and how many."""
    box, side, reach = frame.box, frame.side, frame.reach
    count = place_particles(x, box, side, work.offset, work.order, work.first, work.held)
    if count < 0:
        return LOST, 0, 0
    if count * LANES > work.order.size or count > work.sources.size:
        return FULL, 0, 0
    fill_records(
        x, work.offset, work.order, count, species, parameters, work.position, work.table, work.where,
        work.bounds,
    )  # fmt: skip
    images = make_images(
        count, work.first, side, box, reach, work.position, work.table, work.bounds, work.sources,
        work.shifts, work.begins, work.members,
    )  # fmt: skip
    if images < 0:
        return FULL, 0, 0
    fits = list_neighbours(
        count, side, box, reach, work.order, species, work.position, work.table, work.bounds, work.sources,
        work.shifts, work.begins, work.members, work.entries, work.counts,
    )  # fmt: skip
    return (DONE if fits else FULL), count, images


@numba.njit(**_OPTIONS)
def _refresh(x, clusters, images, work):
    """Bring the records to the positions x."""
    position, where, offset = work.position, work.where, work.offset
    for i in range(np.uint64(where.size)):
        at = where[i]
        for k in range(np.uint64(3)):
            position[at + k * np.uint64(LANES)] = x[np.uint64(3) * i + k] - offset[np.uint64(3) * i + k]
    for m in range(np.uint64(clusters), np.uint64(images)):
        base, source = m * np.uint64(RECORD), np.uint64(work.sources[m]) * np.uint64(RECORD)
        for k in range(np.uint64(3)):
            shift, row = work.shifts[m, k], k * np.uint64(LANES)
            to, at = base + row, source + row
            for lane in range(np.uint64(LANES)):
                position[to + lane] = position[at + lane] + shift


@numba.njit(**_OPTIONS)
def _forces(clusters, images, species, frame, work, kind):
    """Compute the forces of all clusters; `work.sums` gets energy, virial and the largest u."""
    force, position, table, order = work.force, work.position, work.table, work.order
    for at in range(images * RECORD):
        force[at] = 0.0
    sums = work.sums
    for k in range(SUMS):
        sums[k] = 0.0
    here, there, out = position.ctypes.data, force.ctypes.data, sums.ctypes.data
    rows, longest = work.entries.ctypes.data, np.uintp(4 * work.entries.shape[1])
    width = np.uintp(8 * table.shape[1])
    for c in range(clusters):
        for lane in range(LANES):
            slot = c * LANES + lane
            i = order[slot]
            if i < 0:
                continue
            at = c * RECORD + lane
            sums[0], sums[1], sums[2] = 0.0, 0.0, 0.0
            cluster_row(
                here, there, table.ctypes.data + np.uintp(species[i]) * width,
                rows + np.uintp(slot) * longest, work.counts[slot], c,
                position[at], position[at + LANES], position[at + 2 * LANES],
                frame.bound, frame.shift, out, kind,
            )  # fmt: skip
            for k in range(3):
                force[at + k * LANES] += sums[k]
    # What the images feel belongs to the clusters that they copy.
    for m in range(np.uint64(clusters), np.uint64(images)):
        base, source = m * np.uint64(RECORD), np.uint64(work.sources[m]) * np.uint64(RECORD)
        for at in range(np.uint64(RECORD)):
            force[source + at] += force[base + at]


@numba.njit(**_OPTIONS)
def _move(x, built, used, summed, step, frame, sums, work):
    """Take one step from the forces; return how far the two particles have come that moved most, together.

    NaN if a force moves a particle by more than `frame.longest`.
    """
    n, dt, longest, noisy = x.size, frame.dt, frame.longest, used.size > 0
    force, where = work.force, work.where
    most, second, whole = 0.0, 0.0, True
    for i in range(np.uint64(n // 3)):
        at, far = where[i], 0.0
        for k in range(np.uint64(3)):
            j = np.uint64(3) * i + k
            old, push = x[j], dt * force[at + k * np.uint64(LANES)]
            new = old + push
            # False where the force is not a number, too.
            whole = whole and abs(push) <= longest
            if noisy:
                if sums.size > 0:
                    kick = summed[step, j]
                    sums[0, j] += kick
                    sums[1, j] += old * kick
                new += used[step, j]
            x[j] = new
            d = new - built[j]
            far += d * d
        if far > second:
            second = far
            if far > most:
                most, second = far, most
    return np.sqrt(most) + np.sqrt(second) if whole else np.nan


@numba.njit(**_OPTIONS)
def _distance(x, built):
    """Return how far the two particles have come that moved most, together."""
    most, second = 0.0, 0.0
    for i in range(x.size // 3):
        far = 0.0
        for k in range(3):
            d = x[3 * i + k] - built[3 * i + k]
            far += d * d
        if far > second:
            second = far
            if far > most:
                most, second = far, most
    return np.sqrt(most) + np.sqrt(second)


class Frame(NamedTuple):
    """What stays the same from step to step."""

    box: float
    side: int
    """Columns along an edge of the box."""
    reach: float
    """Largest listing radius."""
    skin: float
    bound: float
    """1/x_c², and next x_c⁻¹² − x_c⁻⁶, as in `tile.cluster_row`."""
    shift: float
    longest: float
    """By how much a force may move a particle in one step, along one axis."""
    dt: float


def _compile(version):
    @njit(**_OPTIONS)
    def advance(
        x, built, listed, used, summed, begin, end, frame, species, parameters, sums, work, energy, kind,
        measuring,
    ):  # fmt: skip
        """Take the steps from `begin` to `end`; with begin = end compute the forces alone.

        Parameters
        ----------
        x : ndarray, shape (3N,)
            Unwrapped positions, replaced by the new ones.
        built : ndarray, shape (3N,)
            Positions from which the list is built; replaced where x has left them by the skin.
        listed : ndarray of int64, shape (2,)
            Clusters and images of the list in `work`; 0 where it holds none of `built`.
        used, summed : ndarray, shape (≥ end, 3N)
            By what the noise moves x in each step, and the kicks that the sums take; empty at T = 0.
        begin, end : int
        frame : Frame
        species : ndarray of int64, shape (N,)
        parameters : ndarray, shape (species, species, 3)
            As in `clusters.fill_records`.
        sums : ndarray, shape (2, 3N)
            Kicks k and x k of the steps are added to it; left alone if it is empty.
        work : kernels.Work
        energy : bool
            Whether energy and virial are wanted with the forces, in `work.sums`.
        kind, measuring : tuple
            `tile.tag` of the form, without energy and with it.

        Returns
        -------
        (int, int)
            `DONE`, `FULL` (an array of `work` is too small) or `LOST` (a position is no number, a step is too
            long), and the step reached: from there it can go on.
        """
        if version == 0:
            return LOST, 0
        moved = _distance(x, built)
        step = begin
        while True:
            # Also where it is not a number.
            if not moved <= frame.skin:
                for j in range(x.size):
                    built[j] = x[j]
                listed[0] = 0
            if listed[0] == 0:
                status, listed[0], listed[1] = _build(built, frame, species, parameters, work)
                if status != DONE:
                    listed[0] = 0
                    return status, step
            _refresh(x, listed[0], listed[1], work)
            if energy:
                _forces(listed[0], listed[1], species, frame, work, measuring)
            else:
                _forces(listed[0], listed[1], species, frame, work, kind)
            if step >= end:
                return DONE, step
            moved = _move(x, built, used, summed, step, frame, sums, work)
            step += 1
            if np.isnan(moved) or step >= end:
                return (LOST if np.isnan(moved) else DONE), step

    return advance


advance = _compile(fingerprint(clusters.__file__, tile.__file__, __file__))
