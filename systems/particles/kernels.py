"""A field computes forces, energies and fused steps of all replicas, each on one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from langevin.core.schemes import Held, StepNoise
from langevin.core.system import Array
from langevin.systems.threads import Pool

from .clusters import DONE, FULL
from .potentials import PairPotential
from .stepping import Frame, advance
from .tile import LANES, RECORD, SUMS, tag

_NO_SUMS = np.zeros((2, 0))
_QUIET = StepNoise(np.zeros((1, 0)), np.zeros((1, 0)))
# Normals drawn ahead, in numbers: they stay in the cache, and a run stops promptly.
_NOISE_BUFFER = 1 << 16
# Particles times steps below which waking a second thread costs more than it saves.
_THREAD_WORK = 4000
# A step that the force alone makes longer than this, in units of the least σ, is no step of the dynamics.
_LONGEST_STEP = 0.5


def _aligned(shape: tuple[int, ...]) -> Array:
    """Return zeros that begin on a boundary of 64 bytes."""
    size = int(np.prod(shape))
    raw = np.zeros(8 * size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 8 * size].view(np.float64).reshape(shape)


class Work(NamedTuple):
    """Arrays of one replica's lists; what each holds stands in `clusters` and `stepping`."""

    offset: Array
    order: NDArray[np.int64]
    first: NDArray[np.int64]
    held: NDArray[np.int64]
    where: NDArray[np.uint64]
    position: Array
    force: Array
    table: Array
    bounds: Array
    sources: NDArray[np.int64]
    shifts: Array
    begins: NDArray[np.int64]
    members: NDArray[np.int64]
    entries: NDArray[np.uint32]
    counts: NDArray[np.int64]
    sums: Array

    @classmethod
    def of(cls, n: int, kinds: int, side: int, wide: int, clusters: int, images: int, longest: int) -> Work:
        """Make the arrays for so many clusters, images and entries of a row."""
        return cls(
            offset=np.zeros(3 * n),
            order=np.zeros(clusters * LANES, dtype=np.int64),
            first=np.zeros(side * side + 1, dtype=np.int64),
            held=np.zeros(n + side * side + 1, dtype=np.int64),
            where=np.zeros(n, dtype=np.uint64),
            position=_aligned((images * RECORD,)),
            force=_aligned((images * RECORD,)),
            table=_aligned((kinds, images * RECORD)),
            bounds=np.zeros((images, 6)),
            sources=np.zeros(images, dtype=np.int64),
            shifts=np.zeros((images, 3)),
            begins=np.zeros(wide * wide + 1, dtype=np.int64),
            members=np.zeros(images, dtype=np.int64),
            entries=np.zeros((clusters * LANES, longest), dtype=np.uint32),
            counts=np.zeros(clusters * LANES, dtype=np.int64),
            sums=np.zeros(SUMS),
        )


@dataclass(frozen=True)
class Geometry:
    """Box, particles and potential: what all replicas share.

    Attributes
    ----------
    box : float
        Edge of the periodic cube.
    species : ndarray of int64, shape (N,)
    potential : PairPotential
    skin : float
        Length by which the list reaches beyond the cutoffs.
    """

    box: float
    species: NDArray[np.int64]
    potential: PairPotential
    skin: float

    @property
    def side(self) -> int:
        """Columns along an edge of the box: clusters are about as wide as they are high."""
        return max(1, round((self.species.size / LANES) ** (1 / 3)))

    @property
    def reach(self) -> float:
        """Largest listing radius."""
        return self.potential.range + self.skin

    def frame(self, dt: float) -> Frame:
        """Return what compiled steps need to know, and their time step."""
        p = self.potential
        longest = _LONGEST_STEP * float(p.sigma.min())
        return Frame(self.box, self.side, self.reach, self.skin, p.bound, p.shift, longest, dt)


class Lists:
    """The lists of one replica, grown as they need, and the calls into compiled code that use them.

    Parameters
    ----------
    geometry : Geometry
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.parameters = geometry.potential.table(geometry.skin)
        side = geometry.side
        self.margin = int(np.ceil(geometry.reach / geometry.box * side))
        self.clusters = geometry.species.size // LANES + side * side + 1
        self.images = self.clusters * (1 + 2 * self.margin // side + 1) ** 2 * 2
        self.longest = 48
        self.listed = np.zeros(2, dtype=np.int64)
        self.built = np.full(3 * geometry.species.size, np.nan)
        self.work = self._made()

    def _made(self) -> Work:
        side = self.geometry.side
        return Work.of(
            self.geometry.species.size,
            len(self.parameters),
            side,
            side + 2 * self.margin,
            self.clusters,
            self.images,
            self.longest,
        )

    def _grow(self) -> None:
        # Which of the arrays was too small is not said: all of them grow, and seldom.
        self.clusters, self.images, self.longest = (
            int(1.5 * self.clusters) + 1,
            int(1.5 * self.images) + 1,
            2 * self.longest,
        )
        self.work = self._made()

    def advance(
        self, x: Array, built: Array, kicks: StepNoise, steps: int, dt: float, sums: Array, energy: bool
    ) -> bool:
        """Take steps in place, x and `built` of shape (3N,); False where the dynamics broke.

        Arguments are those of `stepping.advance` and its `Frame`; `kicks` are multiples √(2 T dt) of normals.
        """
        g = self.geometry
        if not np.array_equal(self.built, built):
            self.built[:] = built
            self.listed[:] = 0
        at, status, frame = 0, FULL, g.frame(dt)
        while status == FULL:
            status, at = advance(
                x,
                self.built,
                self.listed,
                *kicks,
                at,
                steps,
                frame,
                g.species,
                self.parameters,
                sums,
                self.work,
                energy,
                tag(g.potential.form, energy=False),
                tag(g.potential.form, energy=True),
            )
            if status == FULL:
                self._grow()
        built[:] = self.built
        return bool(status == DONE)

    def force(self) -> Array:
        """Return the forces that the last call computed, shape (3N,)."""
        at = self.work.where.astype(np.intp)[:, None] + LANES * np.arange(3)
        return self.work.force[at].ravel()


class Evaluation(NamedTuple):
    """What follows from positions: of each replica."""

    force: Array
    """−∇E, shape (R, 3N)."""
    energy: Array
    """Extensive potential energy E, shape (R,); NaN if a position is no number."""
    virial: Array
    """Σ r·F over pairs, shape (R,)."""
    closest: Array
    """Smallest r/σ_ab of the interacting pairs, shape (R,); inf if there are none."""


class Field:
    """Forces, energies and steps of R replicas.

    Results depend neither on `threads` nor on the other replicas.

    Parameters
    ----------
    geometry : Geometry
    replicas : int
    threads : int
    """

    def __init__(self, geometry: Geometry, replicas: int, threads: int) -> None:
        self.geometry = geometry
        self.threads = min(threads, replicas)
        self._stepping = [Lists(geometry) for _ in range(replicas)]
        # Where a configuration is only looked at, a list serves once, and needs no skin.
        self._looking = [Lists(replace(geometry, skin=0.0)) for _ in range(self.threads)]
        self._pool = Pool(self.threads)

    def evaluate(self, x: Array) -> Evaluation:
        """Return force, energy, virial and closest pair of positions x, shape (R, 3N)."""
        evaluation = Evaluation(np.full(x.shape, np.nan), *(np.full(len(x), np.nan) for _ in range(3)))

        def look(k: int, thread: int) -> None:
            lists, row = self._looking[thread], np.array(x[k])
            if lists.advance(row, row.copy(), _QUIET, 0, 0.0, _NO_SUMS, True):
                evaluation.force[k] = lists.force()
                evaluation.energy[k], evaluation.virial[k], most = lists.work.sums[3:]
                evaluation.closest[k] = 1 / np.sqrt(most) if most > 0 else np.inf

        self._for_replicas(look, len(x), 1)
        return evaluation

    def steps(
        self,
        x: Array,
        built: Array,
        steps: int,
        dt: float,
        temperature: float,
        generators: Sequence[np.random.Generator],
        held: Held | None = None,
        accumulated: Array | None = None,
    ) -> Array:
        """Return x after Langevin steps.

        Parameters
        ----------
        x : ndarray, shape (R, 3N)
            Unwrapped positions; not changed.
        built : ndarray, shape (R, 3N)
            Positions from which the lists are built; replaced in place where they are built anew.
        steps, dt, temperature : int, float, float
        generators : sequence of numpy.random.Generator, length R
            Per step 3N standard normals are taken from each; none at T = 0.
        held : Held, optional
            A scheme and the normals, shape (R, 3N), of the step before; they are replaced in place by the
            last ones. Without it, the noise of a step is its own.
        accumulated : ndarray, shape (2, R, 3N), optional
            To it the kicks k of every step (`langevin.core.schemes`) and x k are added, in place.

        Returns
        -------
        ndarray, shape (R, 3N)
            NaN for a replica whose dynamics broke.
        """
        moved = np.array(x)
        amplitude = float(np.sqrt(2 * temperature * dt))
        size = x.shape[1]
        chunk = max(1, min(steps, _NOISE_BUFFER // size)) if amplitude > 0 else steps
        room = chunk if amplitude > 0 else 0

        def run(k: int, thread: int) -> None:
            lists = self._stepping[k]
            sums = _NO_SUMS if accumulated is None else np.ascontiguousarray(accumulated[:, k])
            drawn, summed, used = (np.zeros((room, size)) for _ in range(3))
            for done in range(0, steps, chunk):
                count, kicks = min(chunk, steps - done), _QUIET
                if amplitude > 0:
                    generators[k].standard_normal(out=drawn[:count])
                    own = np.multiply(drawn[:count], amplitude, out=summed[:count])
                    kicks = StepNoise(own, own)
                    if held is not None:
                        before = amplitude * held.normals[k : k + 1]
                        both = held.scheme.noise(before, own[None], used[None, :count])
                        kicks = StepNoise(*(each[0] for each in both))
                if not lists.advance(moved[k], built[k], kicks, count, dt, sums, False):
                    moved[k] = np.nan
                    break
                if held is not None and amplitude > 0:
                    held.normals[k] = drawn[count - 1]
            if accumulated is not None:
                accumulated[:, k] = sums

        self._for_replicas(run, len(x), steps)
        return moved

    def _for_replicas(self, act: Callable[[int, int], None], replicas: int, steps: int) -> None:
        """Call act(replica, thread) for every replica, on as many threads as pay."""
        if self.threads == 1 or self.geometry.species.size * steps < _THREAD_WORK:
            for k in range(replicas):
                act(k, 0)
            return
        left = iter(range(replicas))

        def work(thread: int) -> None:
            # Taken one by one: the threads end together, whatever a replica costs.
            for k in left:
                act(k, thread)

        for future in [self._pool.executor.submit(work, thread) for thread in range(self.threads)]:
            future.result()
