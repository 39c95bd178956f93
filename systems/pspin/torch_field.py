"""Langevin steps of replicas of p-spin samples on a device of torch; on a card as a CUDA graph.

Spins are in float64, shape (samples, N, lanes): the lanes of a sample are its replicas, and where another
sample has more of them, repetitions of its first. A step finds all it needs on the device, noise that was
drawn some steps ahead included, so that the host never waits between steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langevin.core.schemes import Held, Mix
from langevin.errors import LangevinError, UserError

from . import philox
from .couplings import Disorder
from .tiles import Tiling, draw
from .torch_force import SummedForce
from .triton_force import fastest

# Normals drawn ahead, in numbers: enough that the many small operations that draw them cost little.
_NOISE_BUFFER = 1 << 22

Array = NDArray[np.float64]


@contextmanager
def at(device: torch.device) -> Iterator[None]:
    """Launch on the device, which need not be the first of its kind; on the processor on one thread of torch.

    There sums of torch may depend on the number of threads. "Out of memory" of a card becomes one line that
    says what to reduce.
    """
    threads = torch.get_num_threads()
    home = torch.empty(0, device=device)
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        with torch.cuda.device_of(home):  # type: ignore[no-untyped-call]
            yield
    except torch.OutOfMemoryError as error:
        said = str(error).splitlines()[0]
        raise LangevinError(
            f"the GPU is out of memory ({said}): reduce system.n, ensemble.samples or ensemble.replicas"
        ) from None
    finally:
        if device.type == "cpu":
            torch.set_num_threads(threads)


def _coefficients(mix: Mix | None) -> tuple[float, float]:
    """Return what a scheme multiplies the normals of the step before and those of this one by."""
    if mix is None:
        return 0.0, 1.0
    before, drawn, out = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.empty(2)
    # It is linear, element by element.
    mix(before, drawn, out)
    return float(out[0]), float(out[1])


@dataclass(frozen=True)
class _Kind:
    """What the operations of a step depend on besides its tensors."""

    dt: float
    amplitude: float
    responds: bool
    mixes: bool


class _Steps:
    """Takes steps of one kind; its tensors stay where they are, so that a card can record a step.

    Parameters
    ----------
    force : callable
        Of spins, shape (samples, N, lanes).
    kind : _Kind
    shape : tuple of int
        (samples, N, lanes).
    device : torch.device
    """

    def __init__(
        self, force: Callable[[Tensor], Tensor], kind: _Kind, shape: tuple[int, ...], device: torch.device
    ) -> None:
        self.force, self.kind = force, kind
        self.x = torch.zeros(shape, dtype=torch.float64, device=device)
        self.chunk = max(1, min(1 << 10, _NOISE_BUFFER // math.prod(shape)))
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        empty = self.x.new_zeros(0)
        self.drawn = empty if kind.amplitude == 0 else self.x.new_zeros((self.chunk, *shape))
        self.used = torch.zeros_like(self.drawn) if kind.mixes else self.drawn
        self.sums = self.x.new_zeros((2, *shape)) if kind.responds else empty
        self._graph: torch.cuda.CUDAGraph | None = None

    def take(self, steps: int) -> None:
        """Take steps from the beginning of the noise, at most `chunk`."""
        self.place.zero_()
        if self.x.device.type != "cuda":
            for _ in range(steps):
                self._step()
            return
        if self._graph is None:
            self._graph = self._captured()
        for _ in range(steps):
            self._graph.replay()

    def _step(self) -> None:
        # On a card small operations cost what their launch does: as few as there can be.
        moved = torch.add(self.x, self.force(self.x), alpha=self.kind.dt)
        if self.kind.amplitude > 0:
            moved.add_(self.used.index_select(0, self.place)[0], alpha=self.kind.amplitude)
            if self.kind.responds:
                kick = self.kind.amplitude * self.drawn.index_select(0, self.place)[0]
                self.sums[0] += kick
                self.sums[1] += self.x * kick
        radius = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        torch.mul(moved, math.sqrt(moved.shape[1]) / radius, out=self.x)
        self.place += 1

    def _captured(self) -> torch.cuda.CUDAGraph:
        """Return a step as a graph; x and sums are afterwards what they were."""
        kept = [t.clone() for t in (self.x, self.sums, self.place)]
        # Libraries choose algorithms and take memory in their first calls: not while a graph is recorded.
        aside: torch.cuda.Stream = torch.cuda.Stream(self.x.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(self.x.device))
        with torch.cuda.stream(aside):
            for _ in range(2):
                self.place.zero_()
                self._step()
        torch.cuda.current_stream(self.x.device).wait_stream(aside)
        for tensor, value in zip((self.x, self.sums, self.place), kept, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        # On a stream of this device, and other threads may use the card meanwhile.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            self._step()
        return graph


class TorchField:
    """Forces and steps of replicas that live in given samples, on a device.

    Parameters
    ----------
    force : callable
        −∂H/∂σ of spins in float64, both of shape (samples, N, lanes), on the device; of a mixed model a
        `SummedForce`.
    sample : ndarray of int, shape (R,)
        Sample of each replica.
    n : int
        Number of spins.
    device : torch.device
    """

    def __init__(
        self,
        force: Callable[[Tensor], Tensor],
        sample: NDArray[np.int64],
        n: int,
        device: torch.device,
    ) -> None:
        self._force, self.sample, self.n, self.device = force, sample, n, device
        members = [np.flatnonzero(sample == s) for s in range(int(sample.max()) + 1)]
        lanes = max(len(m) for m in members)
        #: The replica of every lane, shape (samples, lanes).
        self.replica = np.array([np.append(m, np.repeat(m[:1], lanes - len(m))) for m in members])
        #: The lane of every replica, counted through all samples.
        self._lane = np.empty(len(sample), np.int64)
        for s, m in enumerate(members):
            self._lane[m] = s * lanes + np.arange(len(m))
        self._shape = (len(members), n, lanes)
        self._kinds: dict[_Kind, _Steps] = {}

    def _lanes(self, rows: NDArray[Any]) -> Tensor:
        """Return what belongs to replicas, shape (R, N), on the device, shape (samples, N, lanes)."""
        if rows.shape != (len(self.sample), self.n):
            raise ValueError(f"x has shape {rows.shape}, not {(len(self.sample), self.n)}")
        lanes = np.ascontiguousarray(rows[self.replica].transpose(0, 2, 1), dtype=np.float64)
        return torch.from_numpy(lanes).to(self.device)

    def _rows(self, lanes: Tensor) -> Array:
        """Return what `_lanes` was given."""
        rows = lanes.cpu().numpy().transpose(0, 2, 1).reshape(-1, self.n)
        return np.ascontiguousarray(rows[self._lane])

    def force(self, x: NDArray[Any]) -> Array:
        """Return −∂H/∂σ of configurations, shape (R, N), in float64."""
        with at(self.device):
            return self._rows(self._force(self._lanes(np.asarray(x))))

    def forces(self, x: NDArray[Any]) -> Array:
        """Return the forces of the interactions of every p, by ascending p, shape (P, R, N), in float64."""
        parts = self._force.parts if isinstance(self._force, SummedForce) else [self._force]
        with at(self.device):
            lanes = self._lanes(np.asarray(x))
            return np.array([self._rows(part(lanes)) for part in parts])

    def steps(
        self,
        x: NDArray[Any],
        first: int,
        count: int,
        dt: float,
        temperature: float,
        keys: NDArray[np.int64],
        accumulated: Array | None = None,
        held: Held | None = None,
    ) -> Array:
        """Make Langevin steps on the sphere, as `kernels.ForceField.steps` does, with the noise of `philox`.

        Parameters
        ----------
        x : ndarray, shape (R, N)
            Configurations; not changed.
        first, count : int
            Number of the first step, from which its noise follows, and number of steps.
        dt, temperature : float
        keys : ndarray, shape (R, 2)
            Keys of the replicas.
        accumulated, held : optional
            As there; changed in place.

        Returns
        -------
        ndarray, shape (R, N)
        """
        with at(self.device):
            amplitude = math.sqrt(2 * temperature * dt)
            steps = self._of_kind(_Kind(dt, amplitude, accumulated is not None, held is not None))
            steps.x.copy_(self._lanes(np.asarray(x)))
            if accumulated is not None:
                steps.sums.copy_(torch.stack([self._lanes(a) for a in accumulated]))
            before = None if held is None else self._lanes(held.normals)
            on_device = torch.from_numpy(np.ascontiguousarray(keys[self.replica])).to(self.device)
            for done in range(0, count, steps.chunk):
                now = min(steps.chunk, count - done)
                if temperature > 0:
                    steps.drawn[:now] = philox.normals(on_device, first + done, now, self.n)
                if held is not None and before is not None:
                    before = self._mixed(steps, before, now, held)
                steps.take(now)
            if accumulated is not None:
                accumulated[:] = [self._rows(lanes) for lanes in steps.sums]
            if held is not None and before is not None:
                held.normals[:] = self._rows(before)
            return self._rows(steps.x)

    def _of_kind(self, kind: _Kind) -> _Steps:
        if kind not in self._kinds:
            self._kinds[kind] = _Steps(self._force, kind, self._shape, self.device)
        return self._kinds[kind]

    @staticmethod
    def _mixed(steps: _Steps, before: Tensor, count: int, held: Held) -> Tensor:
        """Write the noise that the next steps use; return the normals that the last of them drew."""
        old, new = _coefficients(held.scheme.mix)
        steps.used[0] = old * before + new * steps.drawn[0]
        steps.used[1:count] = old * steps.drawn[: count - 1] + new * steps.drawn[1:count]
        return steps.drawn[count - 1].clone()


def field(
    disorders: Sequence[Sequence[Disorder]], sample: NDArray[np.int64], device: torch.device, precision: str
) -> TorchField:
    """Return the forces and steps of replicas, with couplings drawn onto the device.

    Parameters
    ----------
    disorders : sequence of sequences of Disorder
        For each sample one for each p, ascending.
    sample : ndarray of int, shape (R,)
        Sample of each replica, an index into `disorders`.
    device : torch.device
    precision : str
        "float32", "float64", or "tf32".

    Raises
    ------
    UserError
        If the memory of a card does not hold the couplings.
    """
    tilings = [Tiling(one.p, one.n) for one in disorders[0]]
    dtype = torch.float64 if precision == "float64" else torch.float32
    _require_room(tilings, len(disorders), dtype, device)
    lanes, forces = int(np.bincount(sample).max()), []
    with at(device):
        for tiling, of_samples in zip(tilings, zip(*disorders, strict=True), strict=True):
            data = draw(tiling, of_samples, device, dtype)
            forces.append(fastest(tiling, data, precision == "tf32", lanes))
    force = forces[0] if len(forces) == 1 else SummedForce(forces)
    return TorchField(force, sample, tilings[0].n, device)


def _require_room(tilings: Sequence[Tiling], samples: int, dtype: torch.dtype, device: torch.device) -> None:
    """Make sure that a card has room for the couplings of every p."""
    if device.type != "cuda":
        return
    size, n = sum(tiling.size for tiling in tilings), tilings[0].n
    needed, (free, _) = size * dtype.itemsize * samples, torch.cuda.mem_get_info(device)
    # What torch keeps of an earlier run counts as taken, and is not.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if needed > free:
        raise UserError(
            f"system.n = {n}: the couplings of {samples} samples need {needed / 1e9:.1f} GB of the "
            f"GPU, {free / 1e9:.1f} GB are free; take a smaller n or fewer ensemble.samples"
        )
