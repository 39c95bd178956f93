"""A process that carries out jobs, as the one who started it sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langevin.machine.interruption import SIGNALS, by

from .base import Job, Outcome, Task

#: Seconds after which a process that was asked to stop, and has not, is killed. Checkpoints are written
#: aside: at worst a job goes on from the one before.
GRACE = 60.0

#: A process begins with the module path of this one: what this one has imported, it can import, too.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from langevin.sweep.worker import main; main()"
)


def called(task: Task) -> str:
    """Return the name of a task, "module:function", by which any process finds it."""
    return f"{task.__module__}:{task.__qualname__}"


class WorkerProcess:
    """A process that carries out jobs (`langevin.sweep.worker`): it is told, and answers, lines of JSON.

    Parameters
    ----------
    task : str
        As `called` names it.
    number : int
        Its number among those that work side by side, by which it takes a GPU.
    share : int
        Processors that it uses.
    environment : mapping
        Its environment.
    path : sequence of str, optional
        Its module path (default: that of this process).
    keep : sequence of int
        Descriptors of open files that it inherits.
    finishes : bool
        Whether it writes its checkpoint where the process that started it has ended; else it ends at once.
    """

    def __init__(
        self,
        task: str,
        number: int,
        share: int,
        environment: Mapping[str, str],
        path: Sequence[str] | None = None,
        keep: Sequence[int] = (),
        finishes: bool = False,
    ) -> None:
        self.number, self.share = number, share
        self.index: int | None = None
        self.ended = self.leaving = False
        self._rest = b""
        self._process = subprocess.Popen(
            # -P: what stands in the working directory is not imported.
            [sys.executable, "-P", "-c", _START, json.dumps(list(path or sys.path))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=keep,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self.output = self._process.stdin, self._process.stdout
        self._say({"task": task, "threads": share, "number": number, "finishes": finishes})

    def _say(self, message: Mapping[str, Any]) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._input.write(rest) :]
        except BrokenPipeError:
            # It has died; its output ends, too, and says so.
            self.leaving = True

    def begin(self, index: int, job: Job) -> None:
        """Let it begin with a job."""
        self.index = index
        self._say({"job": dict(job)})

    def leave(self) -> None:
        """Let it end, since there is nothing more to do."""
        self.leaving = True
        self._input.close()

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to stop what it does."""
        if not self.leaving:
            self._say({"stop": True})
        if not self.ended:
            # Should it stand still, it does not hear.
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it, if it is still there; its output ends then."""
        if not self.ended and self._process.poll() is None:
            self._process.kill()

    def hear(self) -> Iterator[tuple[int, Outcome | float]]:
        """Yield what it has said since."""
        heard = os.read(self.output.fileno(), 65536)
        self.ended = not heard
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in lines:
            message = json.loads(line)
            assert self.index is not None
            if "at" in message:
                yield self.index, float(message["at"])
                continue
            index, self.index = self.index, None
            # After what nobody foresaw the process does not go on.
            self.leaving = self.leaving or message.get("leaving", False)
            yield index, Outcome(message["kind"], message["why"])

    def bury(self, asked: bool) -> Iterator[tuple[int, Outcome]]:
        """Yield the job that it died over, if it did; `asked`: it was to stop."""
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            # Its output has ended, and it goes on.
            self._process.kill()
            code = self._process.wait()
        if self.index is None:
            return
        index, self.index = self.index, None
        if asked:
            yield index, Outcome("stopped")
        elif -code in SIGNALS:
            # Before its run listened, or at a second one.
            yield index, Outcome("signalled", by(-code).how)
        elif -code == signal.SIGKILL:
            yield index, Outcome("lost", "its process ended (killed by SIGKILL)")
        else:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            yield index, Outcome("failed", f"its process ended ({how})")

    def kill(self) -> None:
        """Make sure that nothing is left of it."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._input, self.output):
            pipe.close()
        self._process.wait()
