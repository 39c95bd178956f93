"""Compiled loop over forces and steps of one replica, and over the lists that they need."""

from __future__ import annotations

import numba
import numpy as np

from ..compiling import fingerprint
from . import clusters, tile
from .clusters import DONE, FULL, LOST, fill_records, list_neighbours, make_images, place_particles
from .tile import LANES, RECORD, SUMS, cluster_row

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}


@numba.njit(**_OPTIONS)
def _build(x, box, side, reach, species, parameters, work):
    """Build clusters, images and rows for the positions x; return DONE, FULL or LOST, and how many."""
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
def _forces(clusters, images, species, bound, shift, work, kind):
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
                position[at], position[at + LANES], position[at + 2 * LANES], bound, shift, out, kind,
            )  # fmt: skip
            for k in range(3):
                force[at + k * LANES] += sums[k]
    # What the images feel belongs to the clusters that they copy.
    for m in range(np.uint64(clusters), np.uint64(images)):
        base, source = m * np.uint64(RECORD), np.uint64(work.sources[m]) * np.uint64(RECORD)
        for at in range(np.uint64(RECORD)):
            force[source + at] += force[base + at]


@numba.njit(**_OPTIONS)
def _move(x, built, noise, step, dt, amplitude, averaged, longest, sums, work):
    """Take one step from the forces; return how far the two particles have come that moved most, together.

    NaN if a force moves a particle by more than `longest`.
    """
    n = x.size
    if amplitude > 0.0:
        before, fresh = noise[step], noise[step + 1]
    else:
        before, fresh = x, x
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
            if amplitude > 0.0:
                kick = amplitude * fresh[j]
                if sums.size > 0:
                    sums[0, j] += kick
                    sums[1, j] += old * kick
                new += 0.5 * (amplitude * before[j] + kick) if averaged else kick
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


def _compile(version):
    @numba.njit(cache=True, **_OPTIONS)
    def advance(
        x, built, listed, noise, begin, end, dt, amplitude, averaged, box, side, reach, skin, bound, shift,
        species, parameters, sums, work, longest, kind,
    ):  # fmt: skip
        """Take the steps from `begin` to `end`; with begin = end compute forces, energy and virial alone.

        Parameters
        ----------
        x : ndarray, shape (3N,)
            Unwrapped positions, replaced by the new ones.
        built : ndarray, shape (3N,)
            Positions from which the list is built; replaced where x has left them by the skin.
        listed : ndarray of int64, shape (2,)
            Clusters and images of the list in `work`; 0 where it holds none of `built`.
        noise : ndarray, shape (≥ end + 1, 3N)
            Standard normals; row 0 are those of the step before, row k + 1 those of step k. Not read if
            `amplitude` is 0.
        begin, end : int
        dt, amplitude : float
            Time step and √(2 T dt).
        averaged : bool
            Whether a step takes the mean of its normals and those of the step before.
        box, side, reach, skin : float, int, float, float
            Box, columns along its edge, largest listing radius, and skin.
        bound, shift : float
            As in `tile.cluster_row`.
        species : ndarray of int64, shape (N,)
        parameters : ndarray, shape (species, species, 3)
            As in `clusters.fill_records`.
        sums : ndarray, shape (2, 3N)
            Kicks k and x k of the steps are added to it; left alone if it is empty.
        work : kernels.Work
            Its arrays.
        longest : float
            By how much a force may move a particle in one step, along one axis.
        kind : tuple
            `tile.tag` of form and energy.

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
            if not moved <= skin:
                for j in range(x.size):
                    built[j] = x[j]
                listed[0] = 0
            if listed[0] == 0:
                status, count, images = _build(built, box, side, reach, species, parameters, work)
                if status != DONE:
                    return status, step
                listed[0], listed[1] = count, images
            _refresh(x, listed[0], listed[1], work)
            _forces(listed[0], listed[1], species, bound, shift, work, kind)
            if step >= end:
                break
            moved = _move(x, built, noise, step, dt, amplitude, averaged, longest, sums, work)
            step += 1
            if np.isnan(moved):
                return LOST, step
            if step >= end:
                break
        return DONE, step

    return advance


advance = _compile(fingerprint(clusters.__file__, tile.__file__, __file__))
