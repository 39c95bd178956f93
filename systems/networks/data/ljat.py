r"""LJAT: which minimum does a molecule of three atoms fall into? Two or three distances, four classes.

Three atoms, uniformly in a cube, follow steepest descent in the potential of `trimer` to one of its
minima, the triangle (class 0), or a line with atom 1, 2 or 3 in the middle (classes 1 to 3). An input is the
distances at the start, (r₁₂, r₁₃) or all three. With two the label is not determined: no network knows all of
them.
The problem of Herrera Segura, Montoya and Tapias (2022, arXiv:2209.02517), who took it from chemical physics.

The edge of the cube sets the fractions of the classes. At 1.35 they are 0.745 and three times 0.085, of
entropy 0.85, the loss of who knows nothing else; by two distances four of five labels can be told. Starts
with two atoms closer than 0.3 are left out: their force is too large to mean anything.
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from langevin.config.keys import key
from langevin.core.capabilities import ChecksSettings, StandsInFiles
from langevin.core.ensemble import Ensemble, available_threads
from langevin.core.noise import stream
from langevin.core.system import DataSet
from langevin.errors import LangevinError
from langevin.machine import notices
from langevin.machine.memory import room_faults

from . import depot
from .base import Data, DataKeys, Examples, shares

if TYPE_CHECKING:
    from langevin.config.settings import Settings

#: Starts that are drawn from one stream.
BLOCK = 2048
#: Raised when the same keys make other molecules.
VERSION = 1


class Molecules(NamedTuple):
    """Starts and where they end.

    Attributes
    ----------
    distances : ndarray of float64, shape (P, 3)
        (r₁₂, r₁₃, r₂₃) at the start.
    labels : ndarray of int64, shape (P,)
        0: triangle; k: line with atom k in the middle.
    """

    distances: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def hash(self) -> str:
        """SHA-256 of the contents, in hexadecimal digits."""
        parts = (self.distances.astype("<f8"), self.labels.astype("<i8"))
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


class LJAT(DataSet, ChecksSettings, StandsInFiles):
    """LJAT: distances of three atoms, and the minimum that they fall into; made, not downloaded."""

    shape = (2,)
    classes = 4

    class Parameters(DataKeys):
        """What stands under [data]."""

        distances: Literal[2, 3] = key(
            "distances that the network sees: r12 and r13, or all three", default=2
        )
        train: int = key("training examples of each quenched sample", default=1000, ge=1)
        test: int = key("test examples of each quenched sample", default=2000, ge=1)
        points: int = key(
            "molecules to choose from: one half for training, one for test", default=20_000, ge=2
        )
        seed: int = key("seed of the molecules", default=1, ge=0)
        edge: float = key("edge of the cube of random starts", default=1.35, gt=0, unit="LJ length")
        closest: float = key(
            "starts with a smaller distance are left out", default=0.3, ge=0.1, unit="LJ length"
        )
        tolerance: float = key(
            "error of a step of the steepest descent", default=1e-6, gt=0, le=1e-3, unit="LJ length"
        )
        scaling: Literal["standard", "none"] = key(  # type: ignore[assignment]
            'inputs: "standard" mean 0 and variance 1 over the molecules for training; "none" as they are',
            default="none",
        )

        @model_validator(mode="before")
        @classmethod
        def _distances(cls, given: Any) -> Any:
            """Take a number under `inputs` for `distances`, which had that name before."""
            if not isinstance(given, dict) or given.get("inputs") not in (2, 3) or "distances" in given:
                return given
            return {"distances": given["inputs"], **{k: v for k, v in given.items() if k != "inputs"}}

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield what is wrong with the numbers of examples, of samples, and with the cube."""
        keys = settings.data
        half = keys.points // 2
        # Of every molecule three atoms, and where they fall.
        yield from room_faults(8.0 * 18 * keys.points, f"data.points = {keys.points}")
        for which in ("train", "test"):
            if getattr(keys, which) > half:
                yield f"data.{which} = {getattr(keys, which)}: must be ≤ {half}, half of data.points"
        if settings.ensemble.samples > 1 and keys.train == half and not keys.structure.differs:
            yield (
                f"ensemble.samples = {settings.ensemble.samples}: must be 1 with data.train = {half}, all "
                "that data.points gives (all samples would be the same)"
            )
        if keys.closest > keys.edge / 2:
            yield f"data.closest = {keys.closest:g}: must be ≤ {keys.edge / 2:g}, half of data.edge"

    @classmethod
    def located(cls) -> str:
        """Say that it is made, and where it is kept then."""
        return f"made when needed, kept in {depot.cache() / 'ljat'}"

    def load(self, ensemble: Ensemble) -> Data:
        """Return the molecules, and the rows of each sample."""
        keys = self.parameters
        drawn = molecules(
            keys.points, keys.seed, keys.edge, keys.closest, keys.tolerance, threads=ensemble.threads
        )
        half = keys.points // 2
        inputs = drawn.distances[:, : keys.distances].astype(np.float32)
        train, test = (
            Examples(inputs[:half], drawn.labels[:half]),
            Examples(inputs[half:], drawn.labels[half:]),
        )
        rows = shares(ensemble, "data", len(train), keys.train)
        test_rows = shares(ensemble, "test data", len(test), keys.test)
        scale, shift = np.ones(keys.distances), np.zeros(keys.distances)
        if keys.scaling == "standard":
            mean, deviation = (
                drawn.distances[:half, : keys.distances].mean(0),
                train.inputs.std(0, dtype=float),
            )
            scale, shift = 1 / deviation, -mean / deviation
        attributes = {
            "hash": f"sha256:{drawn.hash}",
            "source": f"made: steepest descent of three atoms from a cube of edge {keys.edge:g}",
            "train_examples": str(keys.train),
            "test_examples": str(keys.test),
        }
        scaling = scale.astype(np.float32), shift.astype(np.float32)
        population = dict.fromkeys(rows, np.arange(half))
        return Data(
            "ljat",
            train,
            test,
            self.classes,
            *scaling,
            rows,
            test_rows,
            attributes,
            population=population,
        )


def molecules(
    points: int,
    seed: int = 1,
    edge: float = 1.35,
    closest: float = 0.3,
    tolerance: float = 1e-6,
    *,
    threads: int | None = None,
) -> Molecules:
    """Return random starts and the minima below them; from the cache, if they were made before.

    Parameters
    ----------
    points : int
        P.
    seed : int
    edge : float
        Of the cube.
    closest : float
        Starts with a smaller distance are left out.
    tolerance : float
        Error of a step, of the largest coordinate; of 20,000 labels none changed between 1e-4 and 1e-8.
    threads : int, optional
        Processors to use; the molecules do not depend on it.

    Raises
    ------
    LangevinError
        If a descent does not end.
    """
    name = hashlib.sha256(repr((VERSION, points, seed, edge, closest, tolerance)).encode()).hexdigest()
    path = depot.cache() / "ljat" / f"{name[:16]}.npz"
    kept = _read(path)
    if kept is not None:
        return kept
    drawn = _make(points, seed, edge, closest, tolerance, threads or available_threads())
    _write(path, drawn)
    return drawn


def _make(points: int, seed: int, edge: float, closest: float, tolerance: float, threads: int) -> Molecules:
    from . import trimer

    def block(number: int) -> Molecules:
        distances = _starts(stream(seed, "ljat", number), min(BLOCK, points - number * BLOCK), edge, closest)
        labels = np.empty(len(distances), np.int64)
        trimer.label(distances, tolerance, trimer.MINIMA, labels)
        return Molecules(distances, labels)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(block, range(-(-points // BLOCK))))
    drawn = Molecules(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    if (drawn.labels < 0).any():
        lost = ", ".join(f"{r:.6g}" for r in drawn.distances[drawn.labels < 0][0])
        raise LangevinError(f"data.name = 'ljat': the descent from distances {lost} reached no minimum")
    return drawn


def _starts(rng: np.random.Generator, count: int, edge: float, closest: float) -> NDArray[np.float64]:
    """Return distances (r₁₂, r₁₃, r₂₃) of random starts, shape (count, 3)."""
    parts: list[NDArray[np.float64]] = []
    while sum(map(len, parts)) < count:
        atoms = edge * rng.random((BLOCK, 3, 3))
        difference = np.stack([atoms[:, i] - atoms[:, j] for i, j in ((0, 1), (0, 2), (1, 2))], axis=1)
        distances = np.sqrt((difference**2).sum(-1))
        parts.append(distances[(distances >= closest).all(1)])
    return np.concatenate(parts)[:count]


#: What numpy and zipfile say of a file that is not whole.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def _read(path: Path) -> Molecules | None:
    """Return what was kept; None if there is nothing, or nothing whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            drawn = Molecules(file["distances"], file["labels"])
            return drawn if str(file["hash"]) == drawn.hash else None
    except _DAMAGED:
        return None


def _write(path: Path, drawn: Molecules) -> None:
    """Keep the molecules, in one step; a cache that cannot be written costs time alone, and is said."""
    aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.npz")
    try:
        depot.require_home(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            np.savez(aside, distances=drawn.distances, labels=drawn.labels, hash=np.array(drawn.hash))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or error
        notices.once("ljat", f"cannot keep LJAT's molecules in {path.parent}: {why}; every run makes its own")
