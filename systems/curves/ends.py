"""The ends of curves that a run file names: stored configurations of finished runs, in pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from langevin.config.keys import PathKey, Section, key, shown
from langevin.config.sections import RecordKeys
from langevin.config.settings import Settings
from langevin.core.system import Array, Beside
from langevin.errors import UserError
from langevin.results import configurations
from langevin.results.configurations import StoredRun
from langevin.results.same_system import require_same_system

from .chained import KICK


class CurveKeys(Section):
    """What stands under [system] of every curve."""

    start: PathKey = key(
        "result file whose stored configurations are the first ends; relative to the working directory",
        example="a.nc",
        yours=True,
    )
    end: PathKey = key(
        "result file of the last ends: replica k is joined with replica k of the other file. Without it "
        "start holds both: of each sample the first replica is joined with the second, and so on",
        default="",
    )
    time: float = key(
        "time at which the ends are stored; inf: the last", default=float("inf"), ge=0, inf=True
    )
    member: int = key(
        "number of a member, from 0 on, if the files of the ends are sweeps; −1: they are single runs",
        default=-1,
        ge=-1,
    )
    curve: Literal["bezier", "chain", "band"] = key(
        "Bezier curve or polygonal chain, whose mean energy descends, or nudged elastic band",
        default="bezier",
    )
    bends: int = key("bends between the ends; of a band its pivots", default=1, ge=1, le=1000)
    spring: float = key(
        'spring constant of curve = "band"; the step times it must be below 1/2', default=1.0, gt=0
    )
    loss: Literal["uniform_t", "uniform_length"] = key(
        "what the mean over the curve is uniform in: t, or length along the curve", default="uniform_t"
    )
    kick: float = key(
        "random displacement of each bend at the start, over the distance of the ends, drawn by seed and "
        "replica; 0: none, and a symmetry of the start is never broken",
        default=KICK,
        ge=0,
        lt=1,
    )


class RecordCurve(Section):
    """Keys of [record] of every curve."""

    positions: int = key(
        "positions of equal distance in t at which the final curve is looked at, both ends among them",
        default=61,
        ge=3,
        le=100_001,
    )


@dataclass(frozen=True)
class Ends:
    """Pairs of configurations in one landscape.

    Attributes
    ----------
    run, other : StoredRun
        Of the first ends, whose system and disorder it is, and of the last.
    start, end : ndarray, shape (pairs, dof)
    positions : ndarray of int, shape (pairs,)
        Of the first ends in `run`.
    others : ndarray of int, shape (pairs,)
        Of the last ends in `other`.
    sample : ndarray of int, shape (pairs,)
    """

    run: StoredRun
    other: StoredRun
    start: Array
    end: Array
    positions: NDArray[np.int64]
    others: NDArray[np.int64]
    sample: NDArray[np.int64]

    @property
    def beside(self) -> tuple[Beside | None, Beside | None]:
        """What the files hold beside the first and the last ends, of all pairs."""
        first, last = self.run.beside, self.other.beside
        return (
            None if first is None else first.of(self.positions),
            None if last is None else last.of(self.others),
        )

    @classmethod
    def read(cls, keys: Any) -> Ends:
        """Read the ends that keys like `CurveKeys` name.

        Raises
        ------
        UserError
            If a file cannot be read or holds no configuration at this time; if the two are not of one system,
            size and landscape; if there is no pair, or its ends coincide.
        """
        time = None if keys.time == float("inf") else keys.time
        member = None if keys.member < 0 else keys.member
        first = _stored("start", keys.start, time, member)
        if not keys.end:
            return cls._checked(first, first, *_partners(first))
        last = _stored("end", keys.end, time, member)
        dofs = first.x.shape[1], last.x.shape[1]
        require_same_system(first.settings, last.settings, (first.path, last.path), dofs, data=False)
        common, one, other = np.intersect1d(first.replica, last.replica, return_indices=True)
        agree = first.sample[one] == last.sample[other]
        if not common.size or not agree.all():
            raise UserError(
                f"system.end = {keys.end!r}: no replica of it has the label and sample of one in {keys.start}"
            )
        return cls._checked(first, last, one, other)

    @classmethod
    def _checked(
        cls, first: StoredRun, last: StoredRun, one: NDArray[np.int64], other: NDArray[np.int64]
    ) -> Ends:
        start, end = first.x[one], last.x[other]
        same = np.flatnonzero((start == end).all(axis=1))
        if same.size:
            raise UserError(
                f"ends of a curve: replica {first.replica[one[same[0]]]} of {first.path} and replica "
                f"{last.replica[other[same[0]]]} of {last.path} coincide; a curve joins two configurations"
            )
        return cls(first, last, start, end, one, other, first.sample[one])

    @property
    def hash(self) -> str:
        """Identify the ends, all pairs of them."""
        return hashlib.sha256(self.start.tobytes() + self.end.tobytes()).hexdigest()

    @property
    def settings(self) -> Settings:
        """Of the run that left the first ends."""
        return self.run.settings

    @property
    def differently_drawn(self) -> bool:
        """Whether seed or data of the two runs differ, so that their landscapes may."""
        one, other = self.run.settings, self.other.settings
        return (one.ensemble.seed, one.data_name, one.data) != (
            other.ensemble.seed,
            other.data_name,
            other.data,
        )

    def refuse(self, what: str) -> UserError:
        """Return what is said of two runs whose landscapes differ."""
        seeds = f"{self.run.settings.ensemble.seed} and {self.other.settings.ensemble.seed}"
        return UserError(
            f"ends of a curve: {self.run.path} and {self.other.path} have other {what}, seeds {seeds}; "
            "they must lie in one landscape"
        )

    @staticmethod
    def check(settings: Settings) -> Iterator[str]:
        """Yield the faults of a run file of curves, those of its files among them."""
        keys = settings.system
        if keys.curve == "band" and keys.loss != "uniform_t":
            yield f'system.loss = "{keys.loss}": allowed: "uniform_t" with system.curve = "band"'
        try:
            ends = Ends.read(keys)
        except UserError as error:
            yield str(error)
            return
        yield from ends.faults(settings)

    def faults(self, settings: Settings) -> Iterator[str]:
        """Yield what is wrong with [ensemble] of a run of these curves."""
        pairs, samples = len(self.positions), np.unique(self.sample).size
        replicas = settings.ensemble.replicas
        if replicas > pairs:
            yield f"ensemble.replicas = {replicas}: must be ≤ {pairs}, the pairs of ends in the files"
        wanted = self.sample[:replicas]
        given = np.arange(len(wanted)) % settings.ensemble.samples
        if not np.array_equal(wanted, given):
            yield (
                f"ensemble.samples = {settings.ensemble.samples}: must be {samples}, those of the ends "
                "(curve k lives in the sample of its ends)"
            )


def _stored(key: str, path: str, time: float | None, member: int | None) -> StoredRun:
    """Read a file of ends; what is wrong with it is said of the key that names it."""
    try:
        return configurations.read(path, time, member)
    except UserError as error:
        said = str(error).removeprefix(f"{path}: ")
        raise UserError(f"system.{key} = {shown(path)}: {said}") from None


def _partners(run: StoredRun) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of pairs within each sample, pairs of all samples in turn."""
    firsts, lasts, orders = [], [], []
    for sample in np.unique(run.sample):
        inside = np.flatnonzero(run.sample == sample)
        pairs = inside[: inside.size // 2 * 2].reshape(-1, 2)
        firsts += pairs[:, 0].tolist()
        lasts += pairs[:, 1].tolist()
        orders += [(rank, sample) for rank in range(len(pairs))]
    if not firsts:
        raise UserError(
            f"system.start = {str(run.path)!r}: it holds one replica of each sample, one end; allowed: "
            "two replicas of a sample, or system.end"
        )
    order = sorted(range(len(firsts)), key=orders.__getitem__)
    return np.array(firsts)[order], np.array(lasts)[order]


class RecordModelCurve(RecordCurve, RecordKeys):
    """[record] of curves of models."""
