"""A process that runs `langevin` under conditions of a campaign, so that the product needs no switch for it.

Processes are forked from a server that has imported what is slow to import, and has computed nothing: a small
run takes one second in place of five. What needs an environment of its own begins as
``python child.py CONDITIONS COMMAND …``.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

#: What the server imports. It may compute nothing: threads do not survive a fork.
IMPORTED = (
    "langevin.commands.cli",
    "langevin.plotting",
    "langevin.sweep.simulation",
    "langevin.sweep.execution",
    "langevin.systems.curves.run",
    "langevin.systems.cugliandolo_kurchan.system",
    "langevin.systems.networks.curve",
    "langevin.systems.networks.network",
    "langevin.systems.particles.model",
    "langevin.systems.pspin.model",
)

#: Seconds after which a process that should long have ended is killed, and the campaign fails.
PATIENCE = 300.0

#: Exit code of such a process, as `timeout` has it.
HUNG = 124

#: Calls that a campaign counts, slows down, and dies in.
CALLS = ("fsync", "replace", "rename", "unlink")

#: Environment variable that hands the conditions on to the processes of a sweep.
VARIABLE = "LANGEVIN_CAMPAIGN_CONDITIONS"


@dataclass(frozen=True)
class Conditions:
    """What a process has to live with.

    Attributes
    ----------
    stretch : float
        Wall time, in seconds, between two checkpoints. The default makes a stretch one step long.
    slow : float
        Seconds before and after each of `CALLS`.
    dies_at : int, optional
        It kills itself with SIGKILL at this one of its moments: one lies before each call, and one after it.
    room : int, optional
        Bytes to which any file may grow.
    clock : float
        Seconds by which the clocks of `time` jump at every look, back and forth.
    umask : int, optional
    memory : int, optional
        Bytes of address space.
    listens : bool
        Whether there is a standard input.
    encoding : str, optional
        Of what it prints, strict as Python is by default.
    """

    stretch: float = 1e-9
    slow: float = 0.0
    dies_at: int | None = None
    room: int | None = None
    clock: float = 0.0
    umask: int | None = None
    memory: int | None = None
    listens: bool = True
    encoding: str | None = None


def undergo(conditions: Conditions, counted: Path | None = None) -> None:
    """Change this process, and those of a sweep that it starts.

    Where `counted` is given, a byte is added to that file at every moment at which the process could die.
    """
    from langevin.machine import pace
    from langevin.sweep.executors import worker_process as executor

    pace.STRETCH = conditions.stretch
    moments = _Moments(conditions, counted)
    for name in CALLS:
        setattr(os, name, moments.around(getattr(os, name)))
    if conditions.umask is not None:
        os.umask(conditions.umask)
    if conditions.room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (conditions.room, resource.RLIM_INFINITY))
    if conditions.memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (conditions.memory, resource.RLIM_INFINITY))
    if not conditions.listens:
        os.close(0)
    if conditions.encoding is not None:
        sys.stdout.reconfigure(encoding=conditions.encoding, errors="strict")  # type: ignore[union-attr]
        sys.stderr.reconfigure(encoding=conditions.encoding, errors="backslashreplace")  # type: ignore[union-attr]
    if conditions.clock:
        _disturb_clocks(conditions.clock)
    os.environ[VARIABLE] = json.dumps({**asdict(conditions), "counted": str(counted or "")})
    assert "worker import main" in executor._START, "the processes of a sweep begin in another way"
    executor._START = executor._START.replace("from langevin", "import child; child.inherit(); from langevin")


def inherit() -> None:
    """Change a process of a sweep as the one that started it."""
    told = json.loads(os.environ[VARIABLE])
    counted = told.pop("counted")
    # By its standard input it is told what to do.
    told["listens"] = True
    undergo(Conditions(**told), Path(counted) if counted else None)


class _Moments:
    """Counts the moments at which a process could die; at one of them it does."""

    def __init__(self, conditions: Conditions, counted: Path | None) -> None:
        self.conditions, self.passed = conditions, 0
        self.file = None if counted is None else os.open(counted, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call with a moment before and one after it."""

        def slow(*arguments: Any, **named: Any) -> Any:
            self._pass()
            try:
                return call(*arguments, **named)
            finally:
                self._pass()

        return slow

    def _pass(self) -> None:
        time.sleep(self.conditions.slow)
        if self.passed == self.conditions.dies_at:
            # With the processes of a sweep, or with its parent.
            os.killpg(0, signal.SIGKILL)
        self.passed += 1
        if self.file is not None:
            os.write(self.file, b".")


def _disturb_clocks(seconds: float) -> None:
    """Let clocks jump to and fro; also the one that no clock of an operating system would turn back."""
    for name in ("time", "monotonic", "perf_counter"):
        clock, looks = getattr(time, name), iter(range(2**62))

        def jumping(clock: Callable[[], float] = clock, looks: Any = looks) -> float:
            return clock() + seconds * (next(looks) % 7 - 3)

        setattr(time, name, jumping)


class _InOneLine:
    """Says what nobody foresaw as a process of its own would: through `sys.excepthook`."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, traceback: types.TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, SystemExit):
            sys.excepthook(kind, error, traceback)
            sys.exit(1)


def command(arguments: list[str]) -> None:
    """Run the command line."""
    from langevin.commands import cli

    sys.argv = ["langevin", *arguments]
    with _InOneLine():
        cli.main(arguments, prog_name="langevin")


def look(until: str) -> None:
    """Open every result and checkpoint there is, again and again, until there is a file of this name.

    Prints how many could be opened and read, and how many were refused in one line.
    """
    import langevin
    from langevin.errors import LangevinError

    opened = refused = 0
    last = False
    while not last:
        # Once more when all is over.
        last = Path(until).exists()
        for path in [*Path().glob("*.nc"), *Path().glob("*.sweep/*.nc")]:
            try:
                with langevin.open(path) as dataset:
                    dataset.load()
                opened += 1
            except LangevinError as error:
                assert "\n" not in str(error), error
                assert "nothing yet" in str(error) or not path.exists(), error
                refused += 1
        time.sleep(0.02)
    print(json.dumps([opened, refused]))


def read(path: str) -> None:
    """Open a result as users do and print hashes of what is in it; a refusal is said in one line."""
    import langevin
    from langevin.errors import LangevinError

    with _InOneLine():
        try:
            with langevin.open(path) as dataset:
                found = {
                    str(name): [str(v.dims), str(v.dtype), _hash(v.to_numpy()), _text(v.attrs)]
                    for name, v in dataset.variables.items()
                }
                print(json.dumps({**found, "": _text(dataset.attrs)}))
        except LangevinError as error:
            print(f"langevin: {error}", file=sys.stderr)
            sys.exit(error.exit_code)


def _hash(array: Any) -> str:
    text = array.dtype.hasobject
    return hashlib.sha256(repr(array.tolist()).encode() if text else array.tobytes()).hexdigest()


def _text(attributes: Any) -> dict[str, str]:
    return {str(name): repr(value) for name, value in attributes.items()}


def _begin(
    do: Callable[..., None],
    given: tuple[Any, ...],
    folder: Path,
    said: Path,
    conditions: Conditions,
    counted: Path | None,
) -> None:
    os.setsid()
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(said.with_suffix(f".{name}"), os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    undergo(conditions, counted)
    do(*given)


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code, or the negative number of a signal, and what it said."""

    code: int
    out: str
    err: str


@cache
def _saying() -> Path:
    """Return a folder for what processes say: where they work there may be no room."""
    made = Path(tempfile.mkdtemp(prefix="langevin-said-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


class Child:
    """A process forked from the server, in a session of its own.

    Parameters
    ----------
    folder : Path
        Where it works.
    do : callable
        A function of a module, such as `command`.
    *given
        Its arguments.
    conditions : Conditions
    counted : Path, optional
        See `undergo`.
    """

    _number = 0

    def __init__(
        self,
        folder: Path,
        do: Callable[..., None],
        *given: Any,
        conditions: Conditions = Conditions(),
        counted: Path | None = None,
    ) -> None:
        Child._number += 1
        self._said = _saying() / str(Child._number)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED))
        self._process = context.Process(
            target=_begin, args=(do, given, folder, self._said, conditions, counted)
        )
        self._process.start()

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send(self, number: signal.Signals, group: bool = True) -> bool:
        """Send a signal, also to the processes that it started; return whether it was there to get it."""
        try:
            (os.killpg if group else os.kill)(self._process.pid or 0, number)
        except ProcessLookupError:
            # It has ended, or has no session of its own yet.
            if self.alive:
                self._process.join(0.01)
                return self.send(number, group)
            return False
        return True

    def wait(self, patience: float = PATIENCE) -> Outcome:
        """Wait for its end; a process that does not come to one is killed, and has the exit code `HUNG`."""
        self._process.join(patience)
        if self.alive:
            self.send(signal.SIGKILL)
            self._process.join()
            return Outcome(HUNG, *self._read())
        # Of a process that was killed at once there is nothing.
        return Outcome(self._process.exitcode or 0, *self._read())

    def _read(self) -> tuple[str, str]:
        files = [self._said.with_suffix(f".{name}") for name in ("out", "err")]
        said = [f.read_text(errors="replace") if f.exists() else "" for f in files]
        for file in files:
            file.unlink(missing_ok=True)
        return said[0], said[1]


if __name__ == "__main__":
    undergo(Conditions(**json.loads(sys.argv[1])))
    command(sys.argv[2:])
