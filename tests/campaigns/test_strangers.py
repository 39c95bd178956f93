"""Result files that nobody of us wrote: commands do their work, or refuse in one line; none runs code."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from alteration import MARK, WAYS, alter
from campaign import Tally, chances, furnished, said_in_one_line, scaled, whole
from child import HUNG, Child, Conditions, command, read

pytestmark = pytest.mark.slow

#: Seconds within which a command on a small file ends.
WITHIN = 120.0

#: Bytes of address space: huge sizes come to their end before the machine does.
MEMORY = 12 * 2**30

#: A module beside the file that leaves its mark where it is imported.
MODULE = f"from pathlib import Path\nPath({MARK!r}).touch()\nclass Stranger:\n    pass\n"

#: Commands, and the kinds whose results they look at.
COMMANDS: dict[str, tuple[tuple[str, ...], list[str] | None]] = {
    "open": (("pspin", "tiny", "curve", "sweep"), None),
    "info": (("pspin", "tiny", "curve", "sweep", "kob_andersen"), ["info", "x.nc"]),
    "plot": (("pspin", "tiny", "curve", "sweep", "kob_andersen"), ["plot", "x.nc", "-o", "x.png"]),
    "compare": (("pspin", "tiny", "harmonic"), ["compare", "x.nc", "good.nc", "-o", "y.png"]),
    "export": (("kob_andersen",), ["export", "x.nc", "--force"]),
    "connect": (
        ("network_ends", "pspin"),
        ["connect", "x.nc", "--set", "dynamics.t_max=10", "--set", "record.times=[0]", "-q", "--force"],
    ),
    "plane": (("network_ends", "pspin"), ["plane", "x.nc", "--grid", "3", "-q", "--force"]),
    "ensemble": (("network_ends", "tiny"), ["ensemble", "x.nc", "--force"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_a_stranger(name: str, record_property: Any) -> None:
    kinds, arguments = COMMANDS[name]
    with Tally(f"altered results, {name}", record_property) as tally:
        for trial in range(scaled(2 * len(WAYS))):
            moments = chances("stranger", name, trial)
            kind, way = moments.choice(kinds), WAYS[trial % len(WAYS)]
            folder = furnished(kind, f"stranger-{name}")
            (folder / "stranger.py").write_text(MODULE)
            for copy in ("x.nc", "good.nc"):
                shutil.copy(whole(kind).result, folder / copy)
            how = alter(folder / "x.nc", moments, way)
            given = Conditions(memory=MEMORY, stretch=0.5)
            do = (read, "x.nc") if arguments is None else (command, arguments)
            outcome = Child(folder, *do, conditions=given).wait(WITHIN)
            tally["files"] += 1
            label = f"{kind}, {how}"
            if [*folder.rglob(MARK)]:
                tally["code that ran"] += 1
                tally.fault(f"{label}: it ran code of the file, {outcome.code}, {outcome.err[-300:]!r}")
            elif outcome.code == HUNG:
                tally.fault(f"{label}: no end after {WITHIN:g} s")
            elif outcome.code == 0:
                tally["served"] += 1
            elif said_in_one_line(outcome):
                tally["refused"] += 1
            else:
                tally.fault(f"{label}: {outcome.code}, {outcome.err[:500]!r}")
