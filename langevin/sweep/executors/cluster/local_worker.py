"""A worker of Dask is a process of this machine, started as a job of a queue would start it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from distributed.deploy.spec import ProcessInterface

#: Seconds for a worker to leave, and to find its scheduler.
LEAVE, FIND = 10.0, 60.0

#: Seconds between two looks at whether it has left.
LOOK = 0.05


class LocalWorker(ProcessInterface):
    """A worker in a fresh interpreter.

    Dask's own cluster of processes imports the main module of its caller once more in each, which a script
    without a guard does not survive, and a notebook does not have.

    Parameters
    ----------
    scheduler : str
        Address.
    name : str
    processors : int
        That the member uses which it carries out.
    environment : mapping
        Variables besides those of this process.
    """

    def __init__(self, scheduler: str, name: str, processors: int, environment: Mapping[str, str]) -> None:
        self._command = [
            *(sys.executable, "-P", "-m", "distributed.cli.dask_worker", scheduler),
            *("--name", name, "--nthreads", "1", "--resources", f"processors={processors}"),
            *("--memory-limit", "0", "--no-dashboard", "--death-timeout", f"{FIND:g}"),
        ]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(scheduler=scheduler, name=name)

    async def start(self) -> None:
        """Start it; the scheduler hears of it when it is there."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=self._environment,
            # Ctrl-C goes to the group of the terminal. A blocked signal would not stay blocked:
            # multiprocessing, by which a nanny starts its worker, unblocks it.
            start_new_session=True,
        )
        await super().start()

    async def close(self, **further: Any) -> None:
        """See it end, with what it has started: the scheduler has told it to."""
        if self._process is not None:
            for insist in (None, self._process.terminate, self._process.kill):
                if insist is not None:
                    insist()
                if await self._has_ended():
                    break
        await super().close()

    async def _has_ended(self) -> bool:
        """Return whether it ends in time.

        It is looked at, not waited for in a thread: those of the loop are few, and the scheduler needs them
        for the farewell.
        """
        assert self._process is not None
        until = time.monotonic() + LEAVE
        while self._process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(LOOK)
        return self._process.poll() is not None
