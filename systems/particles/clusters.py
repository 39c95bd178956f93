r"""Clusters of eight neighbouring particles, their periodic images, and who is near whom.

Verlet's list (Phys. Rev. 159, 98 (1967)) of clusters in place of particles (Páll & Hess, Comput. Phys.
Commun. 184, 2641 (2013)):

1. the box is cut into square columns; the particles of a column, sorted by height, are cut into clusters of
   eight, so that a cluster is about as wide as it is high;
2. clusters near a face get images beyond the opposite one: copies with a shift, so that no pair needs the
   minimum image;
3. a row of every particle lists the images that have any particle within the listing radius, which is the
   cutoff plus a skin. Pairs of two clusters stand in the rows of one of them only: image (c', s) in those of
   cluster c if c' > c, or if c' = c and the shift s is positive (in lexicographic order).

A list is valid until two particles have moved by more than the skin together. It follows
from the positions it was built at alone, in order, too: a run that goes on from them finds the same sums.
"""

from __future__ import annotations

import numba
import numpy as np

from .tile import LANES, RECORD, any_listed

_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}

#: Where padding stands: so far away that it has no pairs, and not so far that its square overflows.
FAR = 1e10

#: What a build can find: all is well, an array is too small, or positions are not numbers.
DONE, FULL, LOST = 0, 1, 2


@numba.njit(**_OPTIONS)
def place_particles(x, box, side, offset, order, first, held):
    """Sort the particles into columns by height; return the number of clusters, or -1 if one is lost.

    Parameters
    ----------
    x : ndarray, shape (3N,)
        Unwrapped positions.
    box : float
        Length of the box.
    side : int
        Columns along an edge.
    offset : ndarray, shape (3N,)
        Returned: box times the image number, so that x − offset lies in the box.
    order : ndarray of int64, shape (slots,)
        Returned: the particle in each slot, -1 for padding. A cluster is eight slots.
    first : ndarray of int64, shape (side² + 1,)
        Returned: first cluster of each column.
    held : ndarray of int64, shape (N + side² + 1,)
        Workspace.
    """
    n = x.size // 3
    columns = side * side
    start = held[n:]
    for c in range(columns + 1):
        start[c] = 0
    for i in range(n):
        for k in range(3):
            image = np.floor(x[3 * i + k] / box)
            # False for what is not a number, too.
            if not abs(image) < 1e9:
                return -1
            offset[3 * i + k] = box * image
        start[_column(x, offset, i, box, side) + 1] += 1
    clusters = 0
    for c in range(columns):
        first[c] = clusters
        clusters += (start[c + 1] + LANES - 1) // LANES
        start[c + 1] += start[c]
    first[columns] = clusters
    if clusters * LANES > order.size:
        return clusters
    for i in range(n):
        c = _column(x, offset, i, box, side)
        held[start[c]] = i
        start[c] += 1
    begin = 0
    for c in range(columns):
        end = start[c]
        _sort_by_height(x, offset, held, begin, end)
        slot = first[c] * LANES
        for k in range(begin, end):
            order[slot] = held[k]
            slot += 1
        while slot < first[c + 1] * LANES:
            order[slot] = -1
            slot += 1
        begin = end
    return clusters


@numba.njit(**_OPTIONS)
def _column(x, offset, i, box, side):
    """Return the column of a particle."""
    # Rounding may put a particle on the far face.
    a = min(int((x[3 * i] - offset[3 * i]) / box * side), side - 1)
    b = min(int((x[3 * i + 1] - offset[3 * i + 1]) / box * side), side - 1)
    return max(a, 0) * side + max(b, 0)


@numba.njit(**_OPTIONS)
def _sort_by_height(x, offset, held, begin, end):
    """Sort `held[begin:end]` by height: a shell sort, for columns of tens to hundreds."""
    gap = 1
    while gap < (end - begin) // 3:
        gap = 3 * gap + 1
    while gap >= 1:
        for k in range(begin + gap, end):
            i = held[k]
            height = x[3 * i + 2] - offset[3 * i + 2]
            m = k
            while m >= begin + gap:
                j = held[m - gap]
                if x[3 * j + 2] - offset[3 * j + 2] <= height:
                    break
                held[m] = j
                m -= gap
            held[m] = i
        gap //= 3


@numba.njit(**_OPTIONS)
def fill_records(x, offset, order, clusters, species, parameters, position, table, where, bounds):
    """Write the records of the clusters, and their bounding boxes.

    Parameters
    ----------
    species : ndarray of int64, shape (N,)
    parameters : ndarray, shape (species, species, 3)
        σ², the force constant and the square of the listing radius.
    position : ndarray, shape (images · RECORD,)
    table : ndarray, shape (species, images · RECORD)
    where : ndarray of int64, shape (N,)
        Returned: where in the records a particle's x stands; y and z follow after 8 and 16.
    bounds : ndarray, shape (images, 6)
        Returned: lower and upper corner of each cluster.
    """
    for c in range(clusters):
        for k in range(3):
            bounds[c, k], bounds[c, 3 + k] = FAR, -FAR
        for lane in range(LANES):
            i = order[c * LANES + lane]
            at = c * RECORD + lane
            for k in range(3):
                position[at + k * LANES] = FAR
            for a in range(table.shape[0]):
                b = species[max(i, 0)]
                for k in range(3):
                    table[a, at + k * LANES] = parameters[a, b, k]
            if i < 0:
                continue
            where[i] = at
            for k in range(3):
                value = x[3 * i + k] - offset[3 * i + k]
                position[at + k * LANES] = value
                bounds[c, k] = min(bounds[c, k], value)
                bounds[c, 3 + k] = max(bounds[c, 3 + k], value)


@numba.njit(**_OPTIONS)
def _add_image(image, source, sx, sy, sz, box, position, table, bounds, sources, shifts):
    """Write one image of a cluster."""
    sources[image] = source
    shifts[image, 0], shifts[image, 1], shifts[image, 2] = sx * box, sy * box, sz * box
    for k in range(3):
        bounds[image, k] = bounds[source, k] + shifts[image, k]
        bounds[image, 3 + k] = bounds[source, 3 + k] + shifts[image, k]
        for lane in range(LANES):
            at = k * LANES + lane
            position[image * RECORD + at] = position[source * RECORD + at] + shifts[image, k]
    for a in range(table.shape[0]):
        for at in range(RECORD):
            table[a, image * RECORD + at] = table[a, source * RECORD + at]


@numba.njit(**_OPTIONS)
def make_images(clusters, first, side, box, reach, position, table, bounds, sources, shifts, begins, members):
    """Make the images within `reach` of the box; return how many clusters and images there are.

    Columns of the box and of its surroundings are numbered together, side + 2 · margin along an edge.

    Parameters
    ----------
    reach : float
        Largest listing radius; at most the box.
    sources : ndarray of int64, shape (images,)
        Returned: the cluster that an image copies; of a cluster itself.
    shifts : ndarray, shape (images, 3)
        Returned: by which it is shifted.
    begins : ndarray of int64, shape ((side + 2 · margin)² + 1,)
        Returned: where in `members` each column begins.
    members : ndarray of int64, shape (images,)
        Returned: clusters and images of every column, upwards.
    """
    margin = int(np.ceil(reach / box * side))
    wide = side + 2 * margin
    images, count = clusters, 0
    for c in range(clusters):
        sources[c] = c
        for k in range(3):
            shifts[c, k] = 0.0
    for gx in range(-margin, side + margin):
        sx = -1 if gx < 0 else (1 if gx >= side else 0)
        for gy in range(-margin, side + margin):
            sy = -1 if gy < 0 else (1 if gy >= side else 0)
            begins[(gx + margin) * wide + gy + margin] = count
            column = (gx - sx * side) * side + gy - sy * side
            for sz in range(-1, 2):
                for c in range(first[column], first[column + 1]):
                    if count == members.size or images == sources.size:
                        return -1
                    if sx == 0 and sy == 0 and sz == 0:
                        members[count] = c
                        count += 1
                        continue
                    low, high = bounds[c, 2] + sz * box, bounds[c, 5] + sz * box
                    if high < -reach or low > box + reach:
                        continue
                    _add_image(images, c, sx, sy, sz, box, position, table, bounds, sources, shifts)
                    members[count] = images
                    images += 1
                    count += 1
    begins[wide * wide] = count
    return images


@numba.njit(**_OPTIONS)
def _gap(bounds, c, m, k):
    """Return the distance of two bounding boxes along one axis."""
    return max(bounds[m, k] - bounds[c, 3 + k], bounds[c, k] - bounds[m, 3 + k], 0.0)


@numba.njit(**_OPTIONS)
def _first_above(height, begin, end, members, bounds):
    """Return the first member of a column, from `begin` to `end`, that reaches up to `height`."""
    while begin < end:
        middle = (begin + end) // 2
        if bounds[members[middle], 5] < height:
            begin = middle + 1
        else:
            end = middle
    return begin


@numba.njit(**_OPTIONS)
def _is_later(c, source, shift):
    """Say whether an image is the one of the two of a pair of clusters that is listed in the row of c."""
    if source != c:
        return source > c
    for k in range(3):
        if shift[k] != 0.0:
            return shift[k] > 0.0
    return False


@numba.njit(**_OPTIONS)
def _list_image(c, m, order, species, position, table, entries, counts):
    """List the image m in the rows of the particles of cluster c near to it; False if one is full."""
    here = position.ctypes.data
    stride = np.uintp(RECORD * 8)
    for lane in range(LANES):
        slot = c * LANES + lane
        i = order[slot]
        if i < 0:
            continue
        at = c * RECORD + lane
        row = table.ctypes.data + np.uintp(species[i] * table.shape[1] * 8)
        offset = np.uintp(m) * stride
        if any_listed(
            here + offset, row + offset, position[at], position[at + LANES], position[at + 2 * LANES]
        ):
            if counts[slot] == entries.shape[1]:
                return False
            entries[slot, counts[slot]] = m
            counts[slot] += 1
    return True


@numba.njit(**_OPTIONS)
def list_neighbours(
    clusters, side, box, reach, order, species, position, table, bounds, sources, shifts, begins, members,
    entries, counts,
):  # fmt: skip
    """Fill the rows of all particles; return False if one is too long for `entries`.

    Parameters
    ----------
    entries : ndarray of uint32, shape (slots, longest)
        Returned: the row of each slot.
    counts : ndarray of int64, shape (slots,)
        Returned: the lengths of the rows.
    """
    margin = int(np.ceil(reach / box * side))
    wide = side + 2 * margin
    for c in range(clusters):
        for lane in range(LANES):
            counts[c * LANES + lane] = 0
        middle_x = max(0, min(int(0.5 * (bounds[c, 0] + bounds[c, 3]) / box * side), side - 1)) + margin
        middle_y = max(0, min(int(0.5 * (bounds[c, 1] + bounds[c, 4]) / box * side), side - 1)) + margin
        for gx in range(middle_x - margin, middle_x + margin + 1):
            for gy in range(middle_y - margin, middle_y + margin + 1):
                end = begins[gx * wide + gy + 1]
                lowest = bounds[c, 2] - reach
                for k in range(_first_above(lowest, begins[gx * wide + gy], end, members, bounds), end):
                    m = members[k]
                    if bounds[m, 2] > bounds[c, 5] + reach:
                        break
                    if sources[m] < c or not _is_later(c, sources[m], shifts[m]):
                        continue
                    dx, dy, dz = _gap(bounds, c, m, 0), _gap(bounds, c, m, 1), _gap(bounds, c, m, 2)
                    if dx * dx + dy * dy + dz * dz > reach * reach:
                        continue
                    if not _list_image(c, m, order, species, position, table, entries, counts):
                        return False
    return True
