"""The members of a sweep, or the shards of them or of a run, are numbered here, each with its file.

A unit is what one job carries out. All members have as many shards, so that number and place follow from each
other: number = member × shards + shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from langevin.config import shards
from langevin.config.settings import Settings, Shard

from . import member

#: Replicas that a message names.
NAMED = 4


class Unit(NamedTuple):
    """What one job carries out.

    Attributes
    ----------
    member : int
        Number of the member; 0 of a run that is no sweep.
    shard : Shard or None
        None: all of it.
    result : Path
    """

    member: int
    shard: Shard | None
    result: Path


@dataclass(frozen=True)
class Layout:
    """Where the units of a folder stand.

    Attributes
    ----------
    folder : Path
    members : int
    shards : int
        Of each member.
    sweeping : bool
        Whether there are members: a run that is no sweep has shards alone.
    """

    folder: Path
    members: int
    shards: int
    sweeping: bool

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> Layout:
        """Return the layout of validated settings."""
        members = len(members_of(settings))
        return cls(folder, members, settings.ensemble.shards, settings.sweep is not None)

    def __len__(self) -> int:
        """Return the number of units."""
        return self.members * self.shards

    @property
    def word(self) -> str:
        """What units are called."""
        if self.shards == 1:
            return "members" if self.sweeping else "runs"
        return "shards"

    def noted(self) -> dict[str, Any]:
        """Return what a manifest notes of it."""
        return {"members": self.members, "shards": self.shards, "sweep": self.sweeping}

    @classmethod
    def read(cls, notes: Mapping[str, Any], folder: Path) -> Layout:
        """Return the layout that a manifest notes."""
        noted = notes["units"]
        return cls(folder, noted["members"], noted["shards"], noted["sweep"])

    def __getitem__(self, number: int) -> Unit:
        """Return the unit of this number."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        one, shard = divmod(number, self.shards)
        if self.sweeping and self.shards == 1:
            return Unit(one, None, self.member(one))
        of = f"member-{one:04d}-" if self.sweeping else ""
        return Unit(one, Shard(shard, self.shards), self.folder / f"{of}shard-{shard:04d}.nc")

    def __iter__(self) -> Iterator[Unit]:
        """Iterate over all units."""
        return map(self.__getitem__, range(len(self)))

    def member(self, number: int) -> Path:
        """Return the result of a member, as a whole."""
        return member.path(self.folder, number)

    def of_member(self, number: int) -> range:
        """Return the numbers of a member's units."""
        return range(number * self.shards, (number + 1) * self.shards)


def members_of(settings: Settings) -> Sequence[Settings]:
    """Return the members of a sweep; a run is its own only one."""
    return settings.sweep.members if settings.sweep is not None else (settings,)


def label(settings: Settings, unit: Unit) -> str:
    """Return what tells a unit from the others, as a message says it."""
    said = [settings.sweep.label(unit.member)] if settings.sweep is not None else []
    if unit.shard is not None and unit.shard.count > 1:
        said.append(_shard_label(members_of(settings)[unit.member], unit.shard))
    return ", ".join(said) or "the run"


def _shard_label(settings: Settings, shard: Shard) -> str:
    replicas = [str(k) for k in shards.cut(settings)[shard.number].tolist()]
    more = [f"… {replicas[-1]}"] if len(replicas) > NAMED + 1 else replicas[NAMED:]
    word = "replica" if len(replicas) == 1 else "replicas"
    return f"shard {shard.number} ({word} {', '.join([*replicas[:NAMED], *more])})"
