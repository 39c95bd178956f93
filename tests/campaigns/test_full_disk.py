"""A full file system, anywhere on the way: one line, nothing lost, and the same bits once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from campaign import (
    Tally,
    chances,
    content,
    differences,
    furnished,
    room,
    said_in_one_line,
    scaled,
    started,
    whole,
)
from child import Child, Outcome
from kinds import RESULT

pytestmark = pytest.mark.slow

#: Words of which one tells that there is no room.
ROOM = ("space", "too large", "larger", "quota")


def full(outcome: Outcome) -> bool:
    """Return whether a process has said in one line that there is no room."""
    said = outcome.err.lower()
    return (
        said_in_one_line(outcome) and outcome.code == 1 and any(w in said for w in ROOM) and "hdf" not in said
    )


def judge(kind: str, folder: Path, child: Child, label: str, tally: Tally) -> bool:
    """Wait for a process that may lack room; return whether it did."""
    outcome = child.wait()
    if outcome.code == 0:
        tally["had room"] += 1
        return False
    if full(outcome):
        tally["full disks"] += 1
    else:
        tally.fault(f"{label}: {outcome}")
    if partial := [p.name for p in folder.rglob(".*partial*")]:
        tally.fault(f"{label}: left behind: {partial}")
    return True


def finish(kind: str, folder: Path, label: str, tally: Tally) -> None:
    """Go on with room enough."""
    outcome = started(kind, folder).wait()
    if outcome.code != 0:
        tally.fault(f"{label}: cannot go on with room: {outcome}")
    elif found := differences(content(folder / RESULT), whole(kind).content):
        tally.fault(f"{label}: differs in {', '.join(found)}")
    else:
        tally["the same bits"] += 1


@pytest.mark.parametrize("kind", ["pspin", "harmonic", "curve", "tiny", "sweep"])
def test_files_that_may_not_grow(kind: str, record_property: Any) -> None:
    """A limit of the size of files stands in for the end of the disk: the same failing write, anywhere."""
    with Tally(f"limited files, {kind}", record_property) as tally:
        for trial in range(scaled(2 if kind == "sweep" else 5)):
            moments, folder = chances("limit", kind, trial), furnished(kind, f"limited-{kind}")
            size = whole(kind).result.stat().st_size
            limit = (2048, 8192, moments.randrange(2048, size), moments.randrange(2048, size), size - 1)[
                trial % 5
            ]
            label = f"trial {trial}, {limit} of {size} bytes"
            if judge(kind, folder, started(kind, folder, room=limit), label, tally):
                # Nor can it now; and that changes nothing.
                judge(kind, folder, started(kind, folder, room=limit), label, tally)
            if not (folder / RESULT).exists():
                finish(kind, folder, label, tally)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """Mount a file system of so many bytes at a folder; skip the test where this is not permitted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system of its own: {error}")
    if done.returncode != 0:
        pytest.skip(f"no file system of its own: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts file systems")
@pytest.mark.parametrize("kind", ["pspin", "harmonic", "curve", "sweep"])
def test_a_full_file_system(kind: str, record_property: Any) -> None:
    with Tally(f"full file system, {kind}", record_property) as tally:
        size = whole(kind).result.stat().st_size
        for trial in range(scaled(2 if kind == "sweep" else 4)):
            moments = chances("tmpfs", kind, trial)
            # From what the first checkpoint needs to what the result needs beside the last one.
            given = moments.randrange(32_000, 3 * size)
            with mounted(room() / f"tmpfs-{kind}", given) as place:
                try:
                    folder = furnished(kind, "work", place)
                except OSError:
                    tally["too small for the run file"] += 1
                    continue
                label = f"trial {trial}, {given} bytes"
                judge(kind, folder, started(kind, folder), label, tally)
                subprocess.run(["mount", "-o", f"remount,size={20 * size + 10**7}", str(place)], check=True)
                if not (folder / RESULT).exists():
                    finish(kind, folder, label, tally)
