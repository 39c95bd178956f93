"""Signals at random moments, for every kind of run: what lies there can be read, and no bit differs.

A process dies between two steps of bringing a file to the disk (`Conditions.dies_at`: the same moment on
every machine), or after a random time, which may be in the middle of writing.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from campaign import (
    STOPPED,
    Tally,
    chances,
    complete,
    content,
    differences,
    furnished,
    scaled,
    started,
    whole,
)
from child import Child, look
from kinds import RESULT, RUNS

pytestmark = pytest.mark.slow

#: Trials of each kind. The processes of a sweep begin from nothing, and take their time.
TRIALS, TRIALS_OF_A_SWEEP = 6, 3

#: Moments of the first checkpoint, and of the result that replaces the last.
BEGINNING, END = 12, 16


def ways(kind: str, trial: int, moments: random.Random) -> Iterator[tuple[dict[str, Any], float | None]]:
    """Yield conditions for one process after the other, and the seconds after which it is killed."""
    count, seconds = whole(kind).moments, whole(kind).seconds
    first = (
        {"dies_at": moments.randrange(count)},
        {"dies_at": moments.randrange(BEGINNING)},
        {"dies_at": count - 1 - moments.randrange(END)},
        {},
        {"slow": 0.002, "dies_at": moments.randrange(count)},
        {"slow": 0.002},
    )[trial % 6]
    yield first, None if "dies_at" in first else moments.uniform(0, seconds)
    # While it goes on: at once, and later.
    yield {"dies_at": moments.randrange(BEGINNING)}, None
    yield {}, moments.uniform(0, seconds)


@contextmanager
def watched(folder: Path, tally: Tally) -> Iterator[None]:
    """Open whatever lies in a folder as long as the context lasts."""
    stop = folder.with_name(f"{folder.name}-stop")
    stop.unlink(missing_ok=True)
    child = Child(folder, look, str(stop))
    yield
    stop.touch()
    outcome = child.wait()
    if outcome.code != 0:
        tally.fault(f"a file that cannot be read: {outcome}")
        return
    opened, refused = json.loads(outcome.out)
    tally["opens"] += opened
    tally["files without numbers yet"] += refused


def finish(kind: str, folder: Path, tally: Tally, label: str) -> None:
    """Let a run come to its end, and compare."""
    if not complete(folder):
        outcome = started(kind, folder).wait()
        if outcome.code != 0 or outcome.err:
            tally.fault(
                f"{label}: cannot go on: {outcome}; there: {sorted(p.name for p in folder.iterdir())}"
            )
            return
    tally["results"] += 1
    if found := differences(content(folder / RESULT), whole(kind).content):
        tally.fault(f"{label}: differs in {', '.join(found)}")
    if left := [p.name for p in folder.iterdir() if RESULT[:-3] in p.name and p.name != RESULT]:
        # Of one that died while it tidied up: its lock, which nobody holds, or what a checkpoint needed.
        tally["folders with something left behind"] += 1
        print(label, "left", left)


@pytest.mark.parametrize("kind", RUNS)
def test_a_killed_run_resumes_to_the_same_bits(kind: str, record_property: Any) -> None:
    with Tally(f"killed, {kind}", record_property) as tally:
        for trial in range(scaled(TRIALS_OF_A_SWEEP if kind == "sweep" else TRIALS)):
            moments, folder = chances("kill", kind, trial), furnished(kind, f"killed-{kind}")
            with watched(folder, tally):
                for conditions, after in ways(kind, trial, moments):
                    child = started(kind, folder, **conditions)
                    if after is not None:
                        time.sleep(after)
                        child.send(signal.SIGKILL)
                    outcome = child.wait()
                    tally["kills"] += outcome.code == -signal.SIGKILL
                    if outcome.code not in (0, -signal.SIGKILL):
                        tally.fault(f"trial {trial}, {conditions}, {after}: {outcome}")
                    if complete(folder):
                        break
                finish(kind, folder, tally, f"trial {trial}")


#: Signals that a terminal, a shell, or a queue sends, and whether to the whole group.
SIGNALS = (
    (signal.SIGTERM, False),
    (signal.SIGINT, True),
    (signal.SIGHUP, True),
    (signal.SIGUSR1, False),
    (signal.SIGUSR2, False),
    (signal.SIGTERM, True),
)


#: Kinds that are stopped.
STOPPING = ("harmonic", "start", "tiny", "kob_andersen", "sweep", "curve", "norms")


@pytest.mark.parametrize(
    ("number", "group"), SIGNALS, ids=lambda s: getattr(s, "name", "group" if s else "one")
)
def test_a_stopped_run_resumes_to_the_same_bits(
    number: signal.Signals, group: bool, record_property: Any
) -> None:
    """A process that has written a checkpoint hears every one of them, and leaves another."""
    with Tally(f"stopped by {number.name}", record_property) as tally:
        for trial in range(scaled(3)):
            moments = chances("signal", number, group, trial)
            # Others for every signal.
            kind = STOPPING[(trial + SIGNALS.index((number, group))) % len(STOPPING)]
            folder = furnished(kind, f"stopped-{kind}")
            for _ in range(2):
                begun = bool([*folder.glob("*.checkpoint.nc")])
                child = started(kind, folder)
                time.sleep(moments.uniform(0, whole(kind).seconds))
                child.send(number, group)
                outcome = child.wait()
                if complete(folder):
                    break
                if outcome.code == -number and not begun:
                    # It came before anything was computed.
                    tally["ended before they began"] += 1
                elif (
                    outcome.code not in STOPPED
                    or outcome.err.count("\n") != 1
                    or ("resume" not in outcome.err and begun)
                ):
                    tally.fault(f"{kind}, trial {trial}: {outcome}")
                else:
                    tally["stopped"] += 1
            finish(kind, folder, tally, f"{kind}, trial {trial}")
