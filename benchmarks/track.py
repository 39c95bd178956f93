"""Keep the benchmarks' ratios over commits: run their quick sizes, append what they print, show what changed.

    python benchmarks/track.py                             # all of them, some ten minutes on two cores
    python benchmarks/track.py engine_overhead curves      # some
    python benchmarks/track.py --table                     # run nothing, show the newest ratios

Each run of a benchmark is a line of JSON in `benchmarks/ratios.jsonl` (`--file`): commit, time, machine,
versions and ratios. A ratio is of two things that were timed side by side, so it says little of the machine's
load. It does depend on the processor: the table compares with earlier commits on the same one.

A change is marked where the newest ratio is off the median of earlier commits by more than 5 %, and by more
than three times their scatter (1.48 times the median absolute deviation: σ, were they Gaussian). With fewer
than three earlier commits nothing is marked. The exit status is 1 if one is marked, or could not be measured.

Why not asv: it builds an environment for each commit and times functions alone, in seconds. These benchmarks
time rivals in turn in one process, some of them programs of others, and only their ratio outlives a change of
machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

#: Name of a benchmark → a line of its output that holds a ratio, in parentheses.
RATIOS = {
    "channels": r"\d ms +(\S+)  (?:inner|outer)most$",
    "cluster": r"Dask / processes: (\S+) ",
    "convolution": r": ratio (\S+)$",
    "cugliandolo_kurchan": r"finest over coarsest tolerance: (\S+)$",
    "curves": r" (\S+) times the plain step",
    "engine_overhead": r"overhead, pair by pair +(\S+) %",
    "everyday": r"^the command.*?\d+\.\d+ +\d+\.\d+ +(\S+) +\S+$",
    "hessian": r" (\S+) ×$",
    "kob_andersen": r"; over lammps: +(\S+) ",
    "network_gpu": r"takes (\S+) times the fastest bare step$",
    "network_parallel": r"over one thread: (\S+) ",
    "networks": r"%  +(\S+) \(",
    "pspin_force": r"^packed f32 .* (\S+) +\S+$",
    "pspin_gpu": r", dense over packed: (\S+)$",
    "spherical_perceptron": r"; BLAS takes (\S+) times as long",
    "tiny_nets": r" over \w+: +(\S+) \(",
}
#: Whose number is a difference in percent, not a ratio: its change is counted in points.
IN_PERCENT = ("engine_overhead",)
#: Of a change that is marked: in parts of the ratio, in units of the scatter, and earlier commits at least.
PART, SIGMAS, COMMITS = 0.05, 3.0, 3


class Change(NamedTuple):
    """The newest value of a ratio beside those of earlier commits on the same machine.

    Attributes
    ----------
    benchmark, label : str
    commit : str
        Of the newest value.
    before : float or None
        Median over earlier commits, each with its own median; None if there is none.
    commits : int
        Earlier commits.
    now : float
    marked : bool
        Whether the newest value is off.
    """

    benchmark: str
    label: str
    commit: str
    before: float | None
    commits: int
    now: float
    marked: bool


def ratios(name: str, output: str) -> dict[str, float]:
    """Return the ratios that a benchmark has printed, by what their lines begin with."""
    found: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for line in output.splitlines():
        if match := re.search(RATIOS[name], line):
            begun, colon, _ = line[: match.start(1)].strip().partition(":")
            label = " ".join(begun.split()) if colon else re.split(r"  +", begun)[0]
            seen[label] += 1
            found[label if seen[label] == 1 else f"{label} #{seen[label]}"] = float(match[1])
    return found


def machine() -> str:
    """Return what ratios depend on besides the code: the processor, and how many of its cores there are."""
    model = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists() and (found := re.search(r"model name\s*: (.*)", listed.read_text(encoding="utf-8"))):
        model = found[1].strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


def commit(folder: Path = HERE) -> str:
    """Return the commit of a checkout, with "-dirty" where files differ from it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: no commit to be found ({done.stderr.strip()})")
    return done.stdout.strip()


def entry(name: str, found: dict[str, float], of: str) -> dict[str, object]:
    """Return the line that is kept of one run of a benchmark."""
    libraries = ("numpy", "numba", "torch", "scipy")
    return {
        "commit": of,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            **{library: importlib.metadata.version(library) for library in libraries},
        },
        "benchmark": name,
        "ratios": found,
    }


def append(file: Path, line: dict[str, object]) -> None:
    """Append one run of a benchmark."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def read(file: Path) -> list[dict[str, object]]:
    """Return all runs that a file holds, oldest first."""
    lines = []
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            assert {"commit", "machine", "benchmark", "ratios"} <= set(line)
        except (ValueError, TypeError, AssertionError):
            raise SystemExit(f"{file}: line {number} is no run of a benchmark: {text[:60]!r}") from None
        lines.append(line)
    return lines


def changes(lines: Iterable[dict], on: str) -> list[Change]:
    """Return the newest value of each ratio on a machine, and what it was at earlier commits.

    Several runs of one commit count as one, by their median.
    """
    history: defaultdict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    for line in lines:
        if line["machine"] == on:
            for label, value in line["ratios"].items():
                history.setdefault((line["benchmark"], label), {}).setdefault(line["commit"], []).append(
                    value
                )
    found = []
    for (benchmark, label), by_commit in history.items():
        newest = list(by_commit)[-1]
        now = statistics.median(by_commit.pop(newest))
        earlier = [statistics.median(values) for values in by_commit.values()]
        before = statistics.median(earlier) if earlier else None
        marked = before is not None and len(earlier) >= COMMITS and is_off(benchmark, now, before, earlier)
        found.append(Change(benchmark, label, newest, before, len(earlier), now, marked))
    return sorted(found)


def is_off(benchmark: str, now: float, before: float, earlier: Sequence[float]) -> bool:
    """Tell whether a ratio is further from earlier ones than they scatter, and by more than five percent."""
    scatter = 1.4826 * statistics.median(abs(value - before) for value in earlier)
    least = 100 * PART if benchmark in IN_PERCENT else PART * abs(before)
    return abs(now - before) > max(least, SIGMAS * scatter)


def table(found: Sequence[Change]) -> str:
    """Return the table of changes."""
    rows = [f"{'benchmark':20s} {'ratio of':44s} {'before':>9s} {'commits':>7s} {'now':>9s}  change"]
    for one in found:
        before = change = "-"
        if one.before is not None:
            before = f"{one.before:.3f}"
            if one.benchmark in IN_PERCENT:
                change = f"{one.now - one.before:+.2f} points"
            elif one.before:
                change = f"{100 * (one.now / one.before - 1):+.1f} %"
        mark = "  <-- off" if one.marked else ""
        row = f"{one.benchmark:20s} {one.label[:44]:44s} {before:>9s} {one.commits:7d} {one.now:9.3f}"
        rows.append(f"{row}  {change}{mark}")
    return "\n".join(rows)


def run(name: str) -> dict[str, float]:
    """Run a benchmark in its quick size and return its ratios.

    Raises
    ------
    RuntimeError
        If it fails, or prints no ratio; the message is the last line that it wrote.
    """
    command = [sys.executable, str(HERE / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = ratios(name, done.stdout)
    if done.returncode or not found:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise RuntimeError(said[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RATIOS))
    parser.add_argument("--file", type=Path, default=HERE / "ratios.jsonl")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - set(RATIOS)):
        parser.error(f"{', '.join(unknown)}: no such benchmark with a ratio; allowed: {', '.join(RATIOS)}")
    failed = []
    if not given.table:
        of = commit()
        for name in given.names or RATIOS:
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                append(given.file, entry(name, run(name), of))
            except RuntimeError as error:
                failed.append(name)
                print(f"{name}: not measured: {error}", file=sys.stderr)
    if not given.file.exists():
        print(f"{given.file}: nothing is kept there yet", file=sys.stderr)
        return 1
    found = [c for c in changes(read(given.file), machine()) if not given.names or c.benchmark in given.names]
    print(table(found))
    if failed:
        print(f"not measured: {', '.join(failed)}")
    return 1 if failed or any(one.marked for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
