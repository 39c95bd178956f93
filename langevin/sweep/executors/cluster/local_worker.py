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

#: Seconds between two looks at whether it has left, and at whether it is there.
LOOK, WATCH = 0.05, 0.5


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
            *("--memory-limit", "0", "--no-dashboard", "--no-nanny", "--death-timeout", f"{FIND:g}"),
        ]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(scheduler=scheduler, name=name)

    async def start(self) -> None:
        """Start it; the scheduler hears of it when it is there."""
        self._process = self._begun()
        self._watch = asyncio.create_task(self._replace())
        await super().start()

    def _begun(self) -> subprocess.Popen[bytes]:
        # Ctrl-C goes to the group of the terminal, and is for the process that started all.
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,
        )

    async def _replace(self) -> None:
        """Start another one where it is killed; one that ends by itself would do so again."""
        assert self._process is not None
        while self._process.poll() is None or self._process.returncode < 0:
            await asyncio.sleep(WATCH)
            if self._process.poll() is not None and self._process.returncode < 0:
                self._process = self._begun()

    async def close(self, **further: Any) -> None:
        """End it, with what it has started."""
        if self._process is not None:
            self._watch.cancel()
            for insist in (self._process.terminate, self._process.kill):
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
