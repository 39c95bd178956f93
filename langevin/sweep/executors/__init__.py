"""Executors have names, and stand one in a file; others join through the entry-point group below."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from langevin.core.ensemble import available_threads
from langevin.errors import UserError

from .base import Executor, Remote

#: One line for each executor: its name, and its class.
EXECUTORS = {
    "processes": "langevin.sweep.executors.processes:LocalProcesses",
    "in_process": "langevin.sweep.executors.in_process:InProcess",
    "dask": "langevin.sweep.executors.cluster.executor:DaskExecutor",
}
GROUP = "langevin.executors"


def named() -> dict[str, str]:
    """Return every executor's name with its "module:Class"; ours win over an entry point's."""
    return {**{point.name: point.value for point in entry_points(group=GROUP)}, **EXECUTORS}


def chosen(executor: str | Executor | None, threads: int | None, lock: int) -> Executor:
    """Return the executor that carries out a sweep.

    Parameters
    ----------
    executor : str, Executor or None
        One of `named`, or an object that carries out jobs; None: processes of this machine.
    threads : int, optional
        Processors in all (default: all that this process may use).
    lock : int
        Descriptor of the sweep's lock.

    Raises
    ------
    UserError
        If there is none of that name, or it cannot serve.
    """
    built = _built(executor or "processes", threads, lock)
    if isinstance(built, Remote):
        built.check()
    return built


def _built(executor: str | Executor, threads: int | None, lock: int) -> Executor:
    if not isinstance(executor, str):
        return executor
    name = executor
    if name not in (known := named()):
        raise UserError(f"executor = {name!r}: no such executor; allowed: {', '.join(sorted(known))}")
    module, _, kind = known[name].partition(":")
    built: Executor = getattr(importlib.import_module(module), kind)(threads or available_threads(), [lock])
    return built
