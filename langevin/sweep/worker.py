"""A worker is a process that carries out jobs, started by `executors.processes`.

It reads lines of JSON: first what to do, with how many processors and on which GPU, then jobs, and perhaps
"stop". When they end, whoever started it has ended, and so does it, in the middle of a job if need be: that
is what checkpoints are for.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from langevin.errors import Interrupted, LangevinError
from langevin.files.locking import Unlocked
from langevin.machine import cards
from langevin.machine.interruption import SIGNALS, TIMED_OUT, request

from .executors.base import Job, Task
from .patience import patiently

#: Seconds in which a process whose starter has ended may write its checkpoint.
FINISH = 60.0


class _Voice:
    """Lines of JSON to whoever started this process; what else is printed goes to stderr."""

    def __init__(self) -> None:
        self._file = os.dup(1)
        os.dup2(2, 1)

    def say(self, message: Mapping[str, Any]) -> None:
        # Where nobody listens any more, `_listen` ends this process.
        with suppress(BrokenPipeError):
            os.write(self._file, json.dumps(message).encode() + b"\n")


def _listen(jobs: queue.SimpleQueue[Any]) -> None:
    """Hand on what comes in; the end of it is the end of this process."""
    finishes = False
    for line in os.fdopen(0, "rb", closefd=False):
        message = json.loads(line)
        if "stop" in message:
            # A run under way notes it and writes its checkpoint; otherwise it ends this process.
            request()
            continue
        finishes = message.get("finishes", finishes)
        jobs.put(message)
    if finishes:
        jobs.put({})
        request()
        time.sleep(FINISH)
    os._exit(0)


def _carry_out(task: Task, job: Job, threads: int, voice: _Voice, waits: bool) -> Mapping[str, Any]:
    def carried() -> None:
        task(job, threads, lambda part: voice.say({"at": part}))

    try:
        # Of a worker that was killed a process may be left that still writes its checkpoint.
        patiently(carried) if waits else carried()
    except Interrupted as error:
        # Whoever stopped this process wants it to leave, whether all are to stop or this one alone.
        kind = "stopped" if error.exit_code == TIMED_OUT else "signalled"
        return {"kind": kind, "why": error.how, "leaving": True}
    except LangevinError as error:
        return {"kind": "failed", "why": str(error)}
    except MemoryError as error:
        return {"kind": "failed", "why": f"not enough memory ({error})"}
    return {"kind": "done", "why": ""}


def main() -> None:
    """Carry out jobs until there are no more."""
    voice = _Voice()
    # Whoever started this has said it, of the sweep.
    warnings.simplefilter("ignore", Unlocked)
    # Ctrl-C reaches every process of the terminal; when to stop says the one that started this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever started this may not want to hear the others; this process has something to save.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, set(SIGNALS))

    def unforeseen(
        kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None
    ) -> None:
        voice.say({"kind": "failed", "why": f"unexpected {kind.__name__}: {error}", "leaving": True})
        # At once: a thread still reads, and would be in the way of an orderly end.
        os._exit(1)

    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    first = jobs.get()
    sys.excepthook = unforeseen
    cards.share(first["number"])
    module, _, name = first["task"].partition(":")
    task: Task = getattr(importlib.import_module(module), name)
    while (job := jobs.get().get("job")) is not None:
        end = _carry_out(task, job, first["threads"], voice, first["finishes"])
        voice.say(end)
        if end.get("leaving"):
            os._exit(0)


if __name__ == "__main__":
    main()
