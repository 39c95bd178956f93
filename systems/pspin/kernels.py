"""Forces and fused Langevin steps for replicas of spherical p-spin samples."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langevin.core.schemes import Held, StepNoise
from langevin.systems.threads import Pool

from .microkernel import max_lanes
from .mixture import Sample, addresses, parts_of, walk
from .stepping import advance
from .workspace import Workspace

# In place of the sums that the response needs, where it is not measured.
_NO_SUMS = np.zeros((2, 0, 0))
# Seconds to wait for all threads of a team to start before giving up.
_TEAM_TIMEOUT = 60.0
# Couplings times lane cost times steps below which waking a team costs more than it saves.
_TEAM_WORK = 1 << 22
# The same measure per group, below which threads mostly wait for each other's interpreter lock.
_GROUP_WORK = 1 << 18
# Measured cost of a force against that of a single replica, by itemsize and lanes.
_LANE_COST = {4: {1: 1.0, 4: 3.8, 8: 4.7, 16: 8.0}, 8: {1: 1.0, 4: 3.8, 8: 7.5}}


@lru_cache(maxsize=64)
def lane_widths(replicas: int, itemsize: int) -> tuple[int, ...]:
    """Cheapest way to share `replicas` of one sample out to vectors.

    Parameters
    ----------
    replicas : int
        Number of replicas.
    itemsize : int
        Bytes of one coupling, 4 or 8.

    Returns
    -------
    tuple of int
        Lanes of each vector, widest first; they add up to at least `replicas`.
    """
    costs = {w: c for w, c in _LANE_COST[itemsize].items() if w <= max_lanes(itemsize)}
    widest = max(costs)
    whole, left = divmod(replicas, widest)
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for count in range(1, left + 1):
        options = ((cost, lanes, best[max(count - lanes, 0)]) for lanes, cost in costs.items())
        best.append(min((cost + rest[0], (lanes, *rest[1])) for cost, lanes, rest in options))
    return (widest,) * whole + tuple(sorted(best[left][1], reverse=True))


class _Group(NamedTuple):
    """Replicas of one sample that are advanced together."""

    sample: int
    lanes: int
    replicas: NDArray[np.int64]


def _draw(normals: NDArray[np.float64], group: _Group, generators: Sequence[np.random.Generator]) -> None:
    """Fill the lanes that stand for replicas with numbers of their own generators."""
    for row, replica in zip(normals, group.replicas, strict=False):
        generators[replica].standard_normal(out=row)


def _require_shapes(
    shape: tuple[int, ...],
    generators: Sequence[np.random.Generator] | None,
    accumulated: NDArray[np.float64] | None,
    held: Held | None,
    each: tuple[NDArray[np.float64] | None, int],
) -> None:
    """Raise `ValueError` if what is given does not fit configurations of this shape, (R, N)."""
    if generators is not None and len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators for {shape[0]} replicas")
    normals = None if held is None else held.normals
    fits = (
        ("accumulated", accumulated, (2, *shape)),
        ("held", normals, shape),
        ("each", each[0], (each[1], *shape)),
    )
    for name, array, wanted in fits:
        if array is not None and array.shape != wanted:
            raise ValueError(f"{name} has shape {array.shape}, not {wanted}")


class ForceField:
    """Forces of replicas that live in given samples.

    Results do not depend on `threads`.  They do not depend on the other replicas either, except that rounding
    differs between replicas computed alone and replicas that share a vector.
    """

    def __init__(self, couplings: Sequence[Sample], sample: ArrayLike, threads: int) -> None:
        """Assign replicas to samples.

        Parameters
        ----------
        couplings : sequence of Couplings, or of tuples of Couplings
            Samples of equal p, n and dtype; of a mixed model those of each p, ascending.
        sample : array_like of int, shape (R,)
            Sample of each replica, an index into `couplings`.
        threads : int
            Number of threads, at least 1.

        Raises
        ------
        ValueError
            If the samples differ in p, n or dtype, an index is out of range, or `threads` < 1.
        """
        index = np.asarray(sample, dtype=np.int64)
        if not couplings or index.ndim != 1 or index.size == 0:
            raise ValueError("need at least one sample and a one-dimensional list of replicas")
        parts = [parts_of(c) for c in couplings]
        kinds = {(tuple(c.p for c in of), *{(c.n, c.data.dtype) for c in of}) for of in parts}
        if len(kinds) > 1 or any(len(kind) != 2 for kind in kinds):
            raise ValueError("samples differ in p, n or dtype")
        if index.min() < 0 or index.max() >= len(couplings):
            raise ValueError(f"replicas refer to samples outside 0..{len(couplings) - 1}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.couplings = list(couplings)
        self._data = [addresses(of) for of in parts]
        self.sample = index
        self.threads = threads
        self._layout = walk(tuple(c.p for c in parts[0]), parts[0][0].n)
        self._dtype = parts[0][0].data.dtype
        self._groups = self._make_groups()
        self._free: dict[int, list[Workspace]] = {g.lanes: [] for g in self._groups}
        self._pool = Pool(threads)

    def _make_groups(self) -> list[_Group]:
        groups = []
        for sample in np.unique(self.sample):
            members = np.flatnonzero(self.sample == sample)
            at = 0
            for lanes in lane_widths(len(members), self._dtype.itemsize):
                groups.append(_Group(int(sample), lanes, members[at : at + lanes]))
                at += lanes
        # Widest first, so that no thread starts a long group when the others are done.
        return sorted(groups, key=lambda g: -g.lanes)

    def force(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Force -dH/ds of every replica.

        Parameters
        ----------
        x : ndarray, shape (R, N)
            Configurations.

        Returns
        -------
        ndarray, shape (R, N), float64

        Raises
        ------
        ValueError
            If `x` has the wrong shape.
        """
        each = self.forces(x)
        # In the kernel's order.
        return each[0] if len(each) == 1 else np.asarray(sum(each[1:], each[0]))

    def forces(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Forces of the interactions of every p, of every replica.

        Parameters
        ----------
        x : ndarray, shape (R, N)
            Configurations.

        Returns
        -------
        ndarray, shape (P, R, N), float64
            By ascending p; a pure model has one.

        Raises
        ------
        ValueError
            If `x` has the wrong shape.
        """
        start = self._checked(x, "x")
        result = np.empty((len(self._layout.powers), *start.shape))

        def evaluate(group: _Group, work: Workspace, call: Callable[..., None]) -> None:
            self._load(group, work, start)
            call(work, group, StepNoise(work.x, work.x), 0, 0.0, 0.0, False, _NO_SUMS)
            self._store(group, work, result)

        self._for_groups(evaluate, 1)
        return result

    def steps(
        self,
        x: NDArray[Any],
        force: NDArray[Any] | None,
        n_steps: int,
        dt: float,
        temperature: float,
        generators: Sequence[np.random.Generator],
        accumulated: NDArray[np.float64] | None = None,
        held: Held | None = None,
        each: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Make Langevin steps on the sphere.

        One step is x <- constrain(x + dt f(x) + sqrt(2 T dt) eta), constrain(x) = x sqrt(N / sum x^2), with
        eta = xi drawn in this step, or, with `held`, what its scheme makes of xi and that of the step before.
        Per replica and step exactly N numbers are taken from ``generator.standard_normal``, none at T = 0.

        Parameters
        ----------
        x : ndarray, shape (R, N)
            Configurations; not changed.
        force : ndarray, shape (R, N), or None
            Force at `x` if already known.
        n_steps, dt, temperature : int, float, float
            Number of steps, time step and temperature; none of them negative.
        generators : sequence of numpy.random.Generator, length R
            Noise of each replica; not touched at T = 0.
        accumulated : ndarray, shape (2, R, N), float64, optional
            To it k = sqrt(2 T dt) xi of every step and x k are added, in place.
        held : Held, optional
            A scheme and the normals, shape (R, N), drawn in the step before the first; they are replaced by
            those of the last step, in place.
        each : ndarray, shape (P, R, N), float64, optional
            Is filled with the forces of every p after the steps, as `forces` gives them.

        Returns
        -------
        x, force : ndarray, shape (R, N), float64
            After the steps; the next step and the energy need the force.

        Raises
        ------
        ValueError
            If a shape is wrong or a number is negative.
        """
        result = self._checked(x, "x").copy()
        known = None if force is None else self._checked(force, "force")
        if n_steps < 0 or dt < 0.0 or temperature < 0.0:
            raise ValueError("n_steps, dt and temperature must not be negative")
        _require_shapes(result.shape, generators if temperature > 0.0 else None, accumulated, held,
                        (each, len(self._layout.powers)))  # fmt: skip
        if n_steps == 0:
            if each is not None:
                each[:] = self.forces(result)
            return result, self.force(result) if known is None else known.copy()
        amplitude = float(np.sqrt(2.0 * temperature * dt))
        forces = np.empty_like(result)

        def run(group: _Group, work: Workspace, call: Callable[..., None]) -> None:
            self._load(group, work, result, known)
            sums = self._sums(group, accumulated)
            for done in range(0, n_steps, work.chunk):
                count = min(work.chunk, n_steps - done)
                drawn = work.normals(count)
                if temperature > 0.0:
                    _draw(drawn, group, generators)
                noise = work.noise(count, held, group.replicas)
                call(work, group, noise, count, dt, amplitude, known is not None or done > 0, sums)
            lanes = len(group.replicas)
            result[group.replicas] = work.x[:lanes]
            forces[group.replicas] = self._force(work, lanes)
            if each is not None:
                self._store(group, work, each)
            if accumulated is not None:
                accumulated[:, group.replicas] = sums[:, :lanes]

        self._for_groups(run, n_steps)
        return result, forces

    def _checked(self, x: NDArray[Any], name: str) -> NDArray[np.float64]:
        array = np.asarray(x, dtype=np.float64)
        shape = (len(self.sample), self._layout.n)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, not {shape}")
        return array

    def _load(
        self, group: _Group, work: Workspace, x: NDArray[np.float64], force: NDArray[np.float64] | None = None
    ) -> None:
        """Copy the replicas to the lanes; spare lanes repeat the first, so they stay finite."""
        work.x[:] = x[group.replicas[0]]
        work.x[: len(group.replicas)] = x[group.replicas]
        if force is not None:
            self._force(work, len(group.replicas))[:] = force[group.replicas]

    def _force(self, work: Workspace, replicas: int, at: int = 0) -> NDArray[np.float64]:
        """Return the part of the workspace that holds the force of the replicas, shape (replicas, n)."""
        pad = self._layout.pad
        return work.parts[at, pad : pad + self._layout.n, :replicas].T

    def _store(self, group: _Group, work: Workspace, each: NDArray[np.float64]) -> None:
        """Copy the forces of every p to the rows of the replicas, shape (P, R, n)."""
        for k, forces in enumerate(each):
            forces[group.replicas] = self._force(work, len(group.replicas), self._layout.force_of(k))

    @staticmethod
    def _sums(group: _Group, accumulated: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Copy the replicas' sums to lanes. Steps add to them: cut anywhere, they add in the same order."""
        if accumulated is None:
            return _NO_SUMS
        sums = np.zeros((2, group.lanes, accumulated.shape[2]))
        sums[:, : len(group.replicas)] = accumulated[:, group.replicas]
        return sums

    def _for_groups(
        self, task: Callable[[_Group, Workspace, Callable[..., None]], None], forces: int
    ) -> None:
        """Run `task` on every group: groups side by side, those left over with all threads on each."""
        groups = self._groups
        cost = self._layout.size * _LANE_COST[self._dtype.itemsize][groups[0].lanes]
        divisible = len(self._layout.slices) > 1 and cost * forces >= _TEAM_WORK
        shared = len(groups) % self.threads if divisible else 0
        stop = threading.Event()

        def alone(group: _Group) -> None:
            work = self._borrow(group.lanes)

            def call(*args: Any) -> None:
                if stop.is_set():
                    raise CancelledError
                self._call(0, 1, *args)

            task(group, work, call)
            self._free[group.lanes].append(work)

        if cost * forces < _GROUP_WORK:
            for group in groups:
                alone(group)
            return
        self._side_by_side(alone, groups[shared:], stop)
        for group in groups[:shared]:
            work = self._borrow(group.lanes)
            task(group, work, self._together)
            self._free[group.lanes].append(work)

    def _side_by_side(
        self, task: Callable[[_Group], None], groups: list[_Group], stop: threading.Event
    ) -> None:
        if self.threads == 1 or len(groups) == 1:
            for group in groups:
                task(group)
            return
        waiting = deque(groups)

        def work_off() -> None:
            while waiting:
                try:
                    group = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                task(group)

        futures = [self._pool.executor.submit(work_off) for _ in range(min(self.threads, len(groups)))]
        try:
            for future in futures:
                future.result()
        finally:
            # After an error or Ctrl-C here: the threads end at their next chunk. Else they have ended.
            stop.set()
            waiting.clear()

    def _together(self, *args: Any) -> None:
        """Call `advance` on all threads at once."""
        # A thread that cannot start must not leave the others spinning in compiled code.
        gate = threading.Barrier(self.threads)

        def member(rank: int) -> None:
            gate.wait(_TEAM_TIMEOUT)
            self._call(rank, self.threads, *args)

        for future in [self._pool.executor.submit(member, rank) for rank in range(self.threads)]:
            future.result()

    def _call(
        self,
        rank: int,
        team: int,
        work: Workspace,
        group: _Group,
        noise: StepNoise,
        n_steps: int,
        dt: float,
        amplitude: float,
        has_force: bool,
        sums: NDArray[np.float64],
    ) -> None:
        place = self._layout
        data = self._data[group.sample]
        advance(
            data, place.table, place.slices, place.bounds, place.pad, work.x, *noise, n_steps, dt, amplitude,
            has_force, sums, work.s, work.f, work.parts, work.sync, rank, team, work.tag,
        )  # fmt: skip

    def _borrow(self, lanes: int) -> Workspace:
        try:
            return self._free[lanes].pop()
        except IndexError:
            return Workspace(self._layout, self._dtype, lanes, self.threads)
