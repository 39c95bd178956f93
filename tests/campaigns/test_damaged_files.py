"""Damaged files: one line, or the same bits; never other numbers."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from campaign import (
    Tally,
    chances,
    content,
    differences,
    furnished,
    require,
    room,
    said_in_one_line,
    scaled,
    started,
    whole,
)
from child import HUNG, Child, Outcome, read
from damage import FLIPS, LENGTHS
from kinds import KINDS, RESULT, RUNS, SINGLE

pytestmark = pytest.mark.slow

#: Seconds within which any file is read, or refused.
READ_WITHIN = 60.0


@cache
def halfway(kind: str) -> Path:
    """Return the folder of a run that died after half of its checkpoints."""
    folder = furnished(kind, f"halfway-{kind}")
    dies_at = whole(kind).moments // 2
    while True:
        outcome = started(kind, folder, dies_at=dies_at).wait()
        assert outcome.code == -signal.SIGKILL, outcome
        if kind == "sweep" or (folder / RESULT).with_suffix(".checkpoint.references").exists():
            break
        # Half of its checkpoints were those of its start.
        dies_at = whole(kind).moments // 8
    for path in folder.rglob(".*"):
        # What the dying process was just writing, and its lock.
        if path.is_file():
            path.unlink()
    return folder


def written(kind: str, folder: Path) -> list[Path]:
    """Return the files of a run: neither its run file nor what it reads."""
    given = {"run.toml", "first.nc", *(name for name, _ in KINDS[kind].beside)}
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in given and p.suffix != ".pyc")


def judge(kind: str, folder: Path, outcome: Outcome, label: str, tally: Tally) -> None:
    """Compare what became of a damaged run with what may become of it."""
    result = folder / RESULT
    if outcome.code == 0:
        if found := differences(content(result), whole(kind).content):
            tally["other numbers"] += 1
            tally.fault(f"{label}: other numbers in {', '.join(found)}")
        else:
            tally["the same bits"] += 1
    elif result.exists() and kind != "sweep":
        tally["other numbers"] += 1
        tally.fault(f"{label}: a result, and {outcome}")
    elif said_in_one_line(outcome):
        tally["refused"] += 1
    else:
        tally["not said in one line"] += 1
        tally.fault(f"{label}: {outcome}")


def resumed(
    kind: str,
    trial: int,
    ways: Sequence[Callable[..., str]],
    wanted: Callable[[Path], bool],
    tally: Tally,
) -> None:
    """Damage one file of a run that stands halfway, and go on with it."""
    # By the way, too: every way of damage has numbers of its own.
    way = ways[trial % len(ways)]
    moments, folder = chances(way.__name__, kind, trial), room() / f"damaged-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(halfway(kind), folder)
    path = moments.choice([p for p in written(kind, folder) if wanted(p)])
    how = way(path, moments)
    tally["damaged files"] += 1
    label = f"{kind}, trial {trial}, {path.name}, {how}"
    judge(kind, folder, started(kind, folder, stretch=0.5).wait(), label, tally)


def beside(path: Path) -> bool:
    """Return whether a file is one of those that stand beside a checkpoint."""
    return path.suffix not in (".nc", ".json")


@pytest.mark.parametrize("kind", RUNS)
def test_flipped_bytes_of_unfinished_runs(kind: str, record_property: Any) -> None:
    """Of checkpoints, of what stands beside them, and of members of a sweep and its sweep.json."""
    with Tally(f"flipped, {kind}", record_property) as tally:
        for trial in range(scaled(5 if kind in ("sweep", "ck", "kob_andersen") else 10)):
            # Half of them beside the checkpoint, if there is something.
            aside = trial % 2 == 1 and any(map(beside, written(kind, halfway(kind))))
            resumed(kind, trial, FLIPS, beside if aside else lambda path: not beside(path), tally)


@pytest.mark.parametrize("kind", [kind for kind in SINGLE if kind != "ck"])
def test_files_beside_a_checkpoint_cut_lengthened_or_removed(kind: str, record_property: Any) -> None:
    with Tally(f"cut or lengthened, {kind}", record_property) as tally:
        for trial in range(scaled(5)):
            resumed(kind, trial, LENGTHS, beside, tally)


@pytest.mark.parametrize("kind", ["pspin", "norms", "kob_andersen", "curve", "sweep"])
def test_flipped_bytes_of_results(kind: str, record_property: Any) -> None:
    """What `langevin.open` gives of a damaged file is what was written, or one line."""
    folder = room() / "damaged-results"
    folder.mkdir(exist_ok=True)
    path = folder / RESULT
    shutil.copy(whole(kind).result, path)
    expected = json.loads(require(Child(folder, read, RESULT).wait()).out)
    with Tally(f"flipped results, {kind}", record_property) as tally:
        for trial in range(scaled(40)):
            way = FLIPS[trial % len(FLIPS)]
            moments = chances("result", kind, trial)
            shutil.copy(whole(kind).result, path)
            how = way(path, moments)
            tally["damaged files"] += 1
            outcome = Child(folder, read, RESULT).wait(READ_WITHIN)
            if outcome.code == HUNG:
                tally["hung"] += 1
                tally.fault(f"{how}: no end")
            elif outcome.code != 0:
                if said_in_one_line(outcome):
                    tally["refused"] += 1
                else:
                    tally["not said in one line"] += 1
                    tally.fault(f"{how}: {outcome}")
            elif found := differences(json.loads(outcome.out), expected):
                tally["other contents"] += 1
                tally.fault(f"{how}: differs in {', '.join(found)}")
            else:
                tally["the same bits"] += 1
