"""What the campaigns share: folders of runs, results that were never disturbed, bits, and counts."""

from __future__ import annotations

import atexit
import hashlib
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from child import Child, Conditions, Outcome, command
from kinds import KINDS, RESULT

#: Results do not depend on these: when, with which commands, how fast, of which commit.
ASIDE = {"history", "wall_time_seconds", "commit"}

#: Exit codes of what is said in one line.
REFUSALS = (1, 2)

#: Characters of the longest line that somebody reads.
LINE = 1000

#: How a process may end that was asked to stop: as after Ctrl-C, or 128 and the number of the signal.
STOPPED = (130, *(128 + number for number in (1, 2, 10, 12, 15)))

#: How much of every campaign is carried out, and from which seed (README.md).
FACTOR = float(os.environ.get("LANGEVIN_CAMPAIGNS", "1"))
SEED = os.environ.get("LANGEVIN_CAMPAIGNS_SEED", "0")


def scaled(count: int) -> int:
    """Return how many trials are made where the default run makes `count`."""
    return max(1, round(count * FACTOR))


def chances(*labels: Any) -> random.Random:
    """Return a generator of random numbers for the trial with these labels."""
    return random.Random("/".join(map(str, (SEED, *labels))))


class Tally(Counter[str]):
    """Counts of a campaign, and what it found: all of it, since one fault says little.

    Parameters
    ----------
    name : str
    record : callable
        pytest's `record_property`: from there the counts reach the end of what pytest prints.
    """

    def __init__(self, name: str, record: Any) -> None:
        super().__init__()
        self.name, self.record = name, record
        self.faults: list[str] = []

    def fault(self, what: str) -> None:
        """Note something that should not be."""
        self["faults"] += 1
        self.faults.append(what)

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        said = ", ".join(f"{count:,} {what}" for what, count in self.items() if what != "faults")
        said = f"{self.name}: {said}, {len(self.faults)} faults"
        self.record("campaign", said)
        print(said)
        if kind is None and self.faults:
            shown = "\n".join(self.faults[:20])
            more = f"\n… and {len(self.faults) - 20} more" if len(self.faults) > 20 else ""
            raise AssertionError(f"{said}\n{shown}{more}")


@dataclass(frozen=True)
class Whole:
    """What a kind gives that nobody disturbs.

    Attributes
    ----------
    content : dict
        See `content`.
    seconds : float
        That it took, with all checkpoints.
    moments : int
        Number of moments at which it could have died (`child.Conditions.dies_at`).
    result : Path
    """

    content: dict[str, Any]
    seconds: float
    moments: int
    result: Path


@cache
def room() -> Path:
    """Return a folder for all that this process does."""
    made = Path(tempfile.mkdtemp(prefix="langevin-campaigns-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def furnished(kind: str, name: str, within: Path | None = None) -> Path:
    """Return a new folder with the run file of a kind and what belongs to it.

    Parameters
    ----------
    kind, name : str
    within : Path, optional
        Where it is made (default: `room`).
    """
    folder = (within or room()) / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    made = KINDS[kind]
    (folder / "run.toml").write_text(made.run_file)
    for other, text in made.beside:
        (folder / other).write_text(text)
    if made.first:
        shutil.copy(whole(made.first).result, folder / "first.nc")
    return folder


def started(kind: str, folder: Path, **conditions: Any) -> Child:
    """Begin a run, or go on with it where there is something to go on with."""
    goes_on = bool([*folder.glob("*.checkpoint.nc"), *folder.glob("*.sweep/sweep.json")])
    arguments = ["resume", RESULT] if goes_on else ["run", "run.toml"]
    arguments += ["--quiet", "--threads", str(KINDS[kind].threads)]
    given = Conditions(**{"stretch": KINDS[kind].stretch, **conditions})
    return Child(folder, command, arguments, conditions=given)


@cache
def whole(kind: str) -> Whole:
    """Carry out a kind without an interruption."""
    folder, counted = furnished(kind, f"whole-{kind}"), room() / f"moments-{kind}"
    arguments = ["run", "run.toml", "--quiet", "--threads", str(KINDS[kind].threads)]
    # In stretches of the usual length; it compiles, too.
    require(Child(folder, command, arguments, conditions=Conditions(stretch=0.5)).wait())
    expected = content(folder / RESULT)
    began = time.monotonic()
    often = Conditions(stretch=KINDS[kind].stretch)
    require(Child(folder, command, [*arguments, "--force"], conditions=often, counted=counted).wait())
    seconds = time.monotonic() - began
    result = folder / RESULT
    assert not differences(content(result), expected)
    return Whole(expected, seconds, counted.stat().st_size, result)


def require(outcome: Outcome) -> Outcome:
    """Make sure that a process has done what it should."""
    assert outcome.code == 0, outcome
    return outcome


def said_in_one_line(outcome: Outcome) -> bool:
    """Return whether a process has refused in the way of the house: foreseen, exit code 1 or 2, one line.

    All faults of settings at once have a line each.
    """
    first, *faults = outcome.err.splitlines() or [""]
    return (
        outcome.code in REFUSALS
        and first.startswith("langevin: ")
        and "unexpected" not in first
        and all(len(line) < LINE for line in (first, *faults))
        and (not faults or (first.endswith(" faults") and all(fault.startswith("  ") for fault in faults)))
    )


def content(path: Path) -> dict[str, Any]:
    """Return all that a result holds and that should not depend on what happened on the way.

    Name of a variable → its dimensions, type, hash of its bytes, and attributes; those of the file under "".
    """
    found: dict[str, Any] = {}
    with netCDF4.Dataset(path, "r") as file:
        file.set_auto_maskandscale(False)
        found[""] = {k: _plain(file.getncattr(k)) for k in file.ncattrs() if k not in ASIDE}
        for name, variable in file.variables.items():
            attributes = {k: _plain(variable.getncattr(k)) for k in variable.ncattrs()}
            # Of a sweep the time that each member took is a variable.
            bits = "" if name in ASIDE else _hash(variable[...])
            found[name] = variable.dimensions, str(variable.dtype), variable.shape, bits, attributes
    return found


def _hash(array: Any) -> str:
    text = array.dtype.hasobject
    return hashlib.sha256(repr(array.tolist()).encode() if text else array.tobytes()).hexdigest()


def _plain(value: Any) -> str:
    # As text: NaN does not equal itself.
    return repr(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return the names of what differs between two contents; of attributes of the file, of every one."""
    here, there = found[""], expected[""]
    attributes = [f"attribute {name}" for name in sorted(here | there) if here.get(name) != there.get(name)]
    names = filter(None, sorted(found | expected))
    return attributes + [name for name in names if found.get(name) != expected.get(name)]


def complete(folder: Path) -> bool:
    """Return whether a run has nothing left to do."""
    unfinished = [*folder.glob("*.checkpoint.nc"), *folder.glob("*.sweep/sweep.json")]
    return (folder / RESULT).exists() and not unfinished
