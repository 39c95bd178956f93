"""A validated run file is a `Settings`; one with [sweep] holds those of all its members."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langevin.code.user_code import Code, Origin
from langevin.core.protocol import Protocol
from langevin.core.system import DataSet, Model, System

from .keys import StartKeys, shown, toml
from .probes import ProbeSettings
from .sections import EnsembleKeys, OutputKeys, RecordKeys


@dataclass(frozen=True)
class Shard:
    """One of the parts that a run is cut into.

    Attributes
    ----------
    number : int
        From 0.
    count : int
        How many there are.
    """

    number: int
    count: int


@dataclass(frozen=True)
class Settings:
    """A validated run file.

    Attributes
    ----------
    title : str
    system_name : str
    system_class : type of System or Model
    system, dynamics, ensemble, record, output : Section
    data_name : str
        Empty for a system that takes no data; `data_class` and `data` are None then.
    data_class : type of DataSet or None
    data : Section or None
    given : dict
        What was given, overrides included: enough to validate again (a checkpoint keeps it).
    text : str
        The run file as it was written; empty for settings given as a dict.
    folder : Path
        Where the run file stands; a user's own module is looked for there.
    start : StartKeys or None
        What the run begins from; None: from a start of its own.
    sweep : Sweep or None
        Of a run file with [sweep]: all members. The sections above are then those of the first.
    probes : tuple of ProbeSettings
        Probes of the user's.
    code : tuple of Code
        Code of the user's that they name, imported.
    origin : Origin or None
        The file that they were read from; None: from the user's own run file or call.
    shard : Shard or None
        Of which part of the replicas these settings are carried out; None: of all.
    left_out : str
        What of the run file was left out, since its overrides leave no room for it; empty if nothing was.
    track : callable or None
        Makes the tracker that `output.track` names (`langevin.running.tracking`).
    """

    title: str
    system_name: str
    system_class: type[System] | type[Model]
    system: Any
    dynamics: Any
    ensemble: EnsembleKeys
    record: RecordKeys
    output: OutputKeys
    given: dict[str, Any]
    text: str = ""
    folder: Path = Path()
    data_name: str = ""
    data_class: type[DataSet] | None = None
    data: Any = None
    start: StartKeys | None = None
    sweep: Sweep | None = None
    probes: tuple[ProbeSettings, ...] = ()
    code: tuple[Code, ...] = ()
    origin: Origin | None = None
    shard: Shard | None = None
    left_out: str = ""
    track: Callable[[Any], Any] | None = None

    @property
    def size(self) -> str:
        """What is to run, in a few words."""
        if self.sweep is not None:
            return self.sweep.size
        return f"{self.system_name}, {self.ensemble.replicas} replicas" + self.dealt + self.cut + self.bath

    @property
    def bath(self) -> str:
        """How the temperature changes; empty where it does not."""
        temperature = getattr(self.dynamics, "temperature", None)
        return f", T(t) = {shown(temperature.given)}" if isinstance(temperature, Protocol) else ""

    @property
    def cut(self) -> str:
        """Into how many shards the run is cut; empty if it is not."""
        return f" in {self.ensemble.shards} shards" if self.ensemble.shards > 1 else ""

    @property
    def dealt(self) -> str:
        """How replicas are dealt over samples that do not get as many each; empty if they do."""
        replicas, samples = self.ensemble.replicas, self.ensemble.samples
        fewest, over = divmod(replicas, samples)
        if not over:
            return ""
        return f" dealt unevenly over {samples} samples: {over} of {fewest + 1}, {samples - over} of {fewest}"

    @property
    def noted(self) -> dict[str, Any]:
        """What a checkpoint notes of them, as JSON can hold it."""
        shard = {} if self.shard is None else {"shard": [self.shard.number, self.shard.count]}
        return {"settings": self.given, "folder": str(self.folder.resolve()), **shard}

    def as_json(self) -> str:
        """Return what was given as JSON (with `Infinity`, which Python reads back)."""
        return json.dumps(self.given)


@dataclass(frozen=True)
class Axis:
    """One dimension of a sweep.

    Attributes
    ----------
    keys : tuple of str
        The "section.key" that change along it: one, or those of a group, together.
    rows : tuple of tuple
        For each place along it the values of all keys.
    group : str
        Name of a group; empty for a single key.
    """

    keys: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    group: str = ""

    def __len__(self) -> int:
        """Return the number of places along the axis."""
        return len(self.rows)

    def values(self, key: str) -> list[Any]:
        """Return the values that one of the keys takes."""
        return [row[self.keys.index(key)] for row in self.rows]


@dataclass(frozen=True)
class Sweep:
    """A validated sweep.

    Attributes
    ----------
    axes : tuple of Axis
        In the order of the run file; the last one varies fastest.
    members : tuple of Settings
        Each as the run file of this member alone would give it.
    """

    axes: tuple[Axis, ...]
    members: tuple[Settings, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> str:
        """What is to run, in a few words."""
        systems = ", ".join(dict.fromkeys(member.system_name for member in self.members))
        replicas = sum(member.ensemble.replicas for member in self.members)
        along = " × ".join(f"{len(axis)} {axis.group or axis.keys[0]}" for axis in self.axes)
        shards = sum(member.ensemble.shards for member in self.members)
        cut = f" in {shards} shards" if shards > len(self.members) else ""
        return f"{systems}, {len(self.members)} members: {along}; {replicas} replicas in all{cut}"

    def index(self, member: int) -> tuple[int, ...]:
        """Return the place of a member along every axis."""
        return next(itertools.islice(itertools.product(*map(range, self.shape)), member, None))

    def label(self, member: int) -> str:
        """Return what tells a member from the others, as a run file would say it."""
        places = zip(self.axes, self.index(member), strict=True)
        return ", ".join(
            f"{key} = {toml(value)}"
            for axis, place in places
            for key, value in zip(axis.keys, axis.rows[place], strict=True)
        )
