"""What Dask costs beside processes of this machine: sweeps in turn, the first member, the queue, memory.

Members are quenches of the 3-spin model on one processor each, timed first, so that each takes `--seconds`.
The same sweep is carried out by one process, by one for each processor, and by Dask's workers on this
machine, in turn; the floor is the time of a member times their number over processors. Members that are done
already show what a member costs where nothing is computed, and what the client's memory does.

    python benchmarks/cluster.py [--quick] [--seconds 10] [--members 4] [--repeat 3] [--queued 1000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import langevin
from langevin.config import run_files
from langevin.core.ensemble import available_threads
from langevin.sweep import member
from langevin.sweep.executors.base import Executor
from langevin.sweep.executors.cluster.executor import DaskExecutor, _Carrier
from langevin.sweep.executors.processes import LocalProcesses


def sweep(members: int, t_max: float, path: Path) -> dict[str, Any]:
    """Return the settings of a sweep of equal members."""
    return {
        "sweep": {"ensemble.seed": list(range(1, members + 1))},
        "system": {"name": "pspin", "p": 3, "n": 128},
        "dynamics": {"temperature": 0.5, "dt": 0.02, "t_max": t_max},
        "ensemble": {"replicas": 8, "samples": 2},
        "record": {"waiting_times": {"start": 1.0, "per_decade": 2}, "lags": {"per_decade": 10}},
        "output": {"path": str(path), "figure": False},
    }


def seconds(members: int, t_max: float, executor: Executor) -> float:
    """Seconds of a whole sweep."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        langevin.run(sweep(members, t_max, Path(folder) / "sweep.nc"), executor=executor).close()
        return time.perf_counter() - began


def t_max_of(wanted: float) -> float:
    """Return the time to which a member runs in so many seconds, on this machine, alone."""
    t = 200.0
    seconds(1, t, LocalProcesses(1))
    short, long = seconds(1, t, LocalProcesses(1)), seconds(1, 3 * t, LocalProcesses(1))
    return float(round(t * max(1.0, 1 + 2 * (wanted - short) / (long - short))))


def first_member(executor: Executor) -> float:
    """Seconds until the first member reports."""
    with tempfile.TemporaryDirectory() as folder:
        settings = run_files.load(sweep(1, 50.0, Path(folder) / "sweep.nc"))
        assert settings.sweep is not None
        job = member.job(settings.sweep.members[0], Path(folder) / "member.nc", 1e9, Path.cwd())
        heard: list[float] = []
        began = time.perf_counter()
        for _ in executor.map(member.carry_out, [job], lambda *_: heard.append(time.perf_counter()), bool):
            pass
        return heard[0] - began


def queued(count: int, threads: int) -> tuple[float, float, float]:
    """Carry out members that are done already.

    Returns
    -------
    float
        Seconds in which the client hands a hundred to the scheduler.
    float
        Seconds of each member, in all.
    float
        MB by which the client has grown from the first hundred on.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = run_files.load(sweep(1, 50.0, Path(folder) / "sweep.nc"))
        assert settings.sweep is not None
        (done := Path(folder) / "member.nc").touch()
        jobs = [member.job(settings.sweep.members[0], done, 1e9, Path.cwd())] * count
        spent, sizes, submit = [0.0], [], _Carrier._submit

        def timed(carrier: _Carrier) -> None:
            began = time.perf_counter()
            submit(carrier)
            spent[0] += time.perf_counter() - began

        _Carrier._submit = timed  # type: ignore[method-assign]
        began = time.perf_counter()
        for k, _ in enumerate(DaskExecutor(threads).map(member.carry_out, jobs, lambda *_: None, bool)):
            if k in (min(100, count - 2), count - 1):
                sizes.append(psutil.Process().memory_info().rss / 1e6)
        _Carrier._submit = submit  # type: ignore[method-assign]
        return 100 * spent[0] / count, (time.perf_counter() - began) / count, sizes[1] - sizes[0]


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="see that it works")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.members, given.repeat, given.queued = 0.5, 2, 1, 20
    threads = available_threads()
    t_max = t_max_of(given.seconds)
    ways = {
        "one process": lambda: LocalProcesses(1),
        f"{threads} processes": lambda: LocalProcesses(threads),
        f"Dask, {threads} workers": lambda: DaskExecutor(threads),
        "Dask, one worker": lambda: DaskExecutor(1),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.repeat):
        for name, build in ways.items():
            times[name].append(seconds(given.members, t_max, build()))
    print(f"{given.members} members to t = {t_max:.0f}, {threads} processors, medians of {given.repeat}:")
    median = {name: statistics.median(values) for name, values in times.items()}
    one, local, dask, dask_one = median.values()
    for name, value in median.items():
        print(f"  {name:20} {value:8.2f} s   {value / given.members:.2f} s a member")
    print(f"  Dask / processes: {dask / local:.3f}   (single pairs: {pairs(times)})")
    floor = one / threads
    print(f"  throughput of {threads} processors / {threads} × one: processes {floor / local:.3f}, ", end="")
    print(f"Dask {dask_one / threads / dask:.3f}")
    starts = [first_member(DaskExecutor(threads)) for _ in range(given.repeat)]
    print(f"first member under way after {statistics.median(starts):.2f} s")
    hand, each, grown = queued(given.queued, threads)
    print(
        f"{given.queued} members that are done: {hand:.3f} s of the client to hand over a hundred, ", end=""
    )
    print(f"{1e3 * each:.1f} ms each in all, client grown by {grown:.1f} MB")


def pairs(times: dict[str, list[float]]) -> str:
    """Return the ratios of each round."""
    _, local, dask, _ = times.values()
    return ", ".join(f"{a / b:.3f}" for a, b in zip(dask, local, strict=True))


if __name__ == "__main__":
    main()
