"""A claim says who works on a file, across the hosts that share its folder.

A lock (`langevin.files.locking`) keeps two processes of one host apart everywhere, those of two hosts only
where the file system carries locks from host to host (`reach`). A claim adds what is missing: a small file
beside the result names its holder, is locked by it, and beats. Another process takes it over

- at once, if the lock is free and the holder was on this host, or the file system carries locks: then the
  holder has ended;
- else after `STALE` seconds without a beat, by the clock of the one who waits: clocks of hosts differ, and
  file servers keep times for themselves.

Where files cannot be locked at all, of two that claim at the same time the later one wins, and both look
again after `SETTLE` seconds before they begin.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from langevin.errors import StorageError

from .locking import LACKING

#: Seconds between two beats; after how many without one a holder that cannot be asked has ended.
BEAT, STALE = 10.0, 60.0

#: Seconds after which whoever claimed a file without a lock looks whether nobody else did. Longer than a
#: client of NFS trusts what it knows of a file that it opens anew.
SETTLE = 5.0

#: Exit code of a process whose claim another one has taken over.
LOST = 75

#: Seconds between two looks of one who waits.
_LOOK = 0.2

#: File systems that carry flock from host to host, unless they are mounted with one of these options.
_CARRIERS: dict[str, set[str]] = {
    "nfs": {"nolock", "local_lock=flock", "local_lock=all"},
    "nfs4": {"nolock", "local_lock=flock", "local_lock=all"},
    "ceph": set(),
    "gpfs": set(),
    "ocfs2": set(),
    "gfs2": set(),
}

#: Lustre does only if it is asked to.
_ASKED = {"lustre": "flock"}


def reach(path: Path) -> Literal["hosts", "host"]:
    """Return how far a lock on a file here reaches: to all "hosts" of the file system, or this "host" alone.

    By the kind of the file system and the options with which it is mounted. "host", too, where nobody knows.
    """
    where = os.path.realpath(path)
    best, kind, options = "", "", set[str]()
    for line in _mounts():
        before, _, after = line.partition(" - ")
        fields, further = before.split(), after.split()
        # Blanks are written as \040; what is not ASCII stands as it is.
        point = os.fsdecode(os.fsencode(fields[4]).decode("unicode_escape").encode("latin-1"))
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        # Of two on one point the later one lies on top.
        if inside and len(point) >= len(best):
            best, kind = point, further[0]
            options = {*fields[5].split(","), *further[2].split(",")}
    if kind in _ASKED:
        return "hosts" if _ASKED[kind] in options else "host"
    return "hosts" if kind in _CARRIERS and not _CARRIERS[kind] & options else "host"


def _mounts() -> list[str]:
    """Return what is mounted, as Linux says it; nothing elsewhere."""
    try:
        return os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines()
    except OSError:
        return []


def host() -> str:
    """Return what tells this host, as locks and processes see it, from all others."""
    own = [socket.gethostname()]
    for name in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/ipc"):
        with suppress(OSError):
            own.append(str(Path(name).readlink()) if "/ns/" in name else Path(name).read_text().strip())
    return " ".join(own)


class Claim:
    """A claim on a file, held by this process from `take` to `release`.

    Parameters
    ----------
    path : Path
        File of the claim; its folder is shared by all who may claim it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._holder = uuid.uuid4().hex
        self._handle: int | None = None
        self._locked = False
        self._beats, self._beaten = 0, 0.0
        #: What was read of another holder, and when it was new.
        self._seen: tuple[Any, float] = (None, 0.0)

    def take(self, given_up: Callable[[], bool]) -> bool:
        """Wait until the claim is this process's own.

        Parameters
        ----------
        given_up : callable
            Asked while it waits; true: it waits no longer.

        Returns
        -------
        bool
            False if it has given up.

        Raises
        ------
        StorageError
            If the file cannot be read or written.
        """
        try:
            while not self._try():
                if given_up():
                    return False
                time.sleep(_LOOK)
        except OSError as error:
            # Else this process would hold the lock, without a claim, as long as it lives.
            self._drop()
            raise StorageError(f"cannot claim {self.path}: {error.strerror}") from error
        return True

    def _try(self) -> bool:
        self._handle = handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locked = True
        except BlockingIOError:
            self._drop()
            return False
        except OSError as error:
            if error.errno not in LACKING:
                raise
            self._locked = False
        if not self._free(handle):
            self._drop()
            return False
        self._write()
        if not self._locked:
            time.sleep(SETTLE)
        if self.held:
            return True
        self._drop()
        return False

    def _free(self, handle: int) -> bool:
        """Return whether the holder that the file names has ended."""
        if not _is(self.path, handle):
            return False
        noted = _read(handle)
        if noted is None:
            return True
        if self._locked and (noted["host"] == host() or reach(self.path) == "hosts"):
            return True
        if noted != self._seen[0]:
            self._seen = noted, time.monotonic()
        return time.monotonic() - self._seen[1] >= STALE

    @property
    def held(self) -> bool:
        """Whether the file still says that this process holds it."""
        if self._handle is None or not _is(self.path, self._handle):
            return False
        # Opened anew: of an open file a host may remember what another one has changed since.
        noted = _noted(self.path)
        return noted is not None and noted["holder"] == self._holder

    def beat(self) -> bool:
        """Say, where it is due, that this process goes on; return False if another one has taken over.

        After a long sleep, such as that of a laptop, it may have. False, too, if nothing could be written,
        as on a full disk, for so long that another one soon may.
        """
        if time.monotonic() - self._beaten < BEAT:
            return True
        if not self.held:
            return False
        before = self._beaten
        try:
            self._write()
        except OSError:
            self._beaten = before
            return time.monotonic() - before < STALE / 2
        return True

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, a thread of this process beats; should another process take over, this one ends at once.

        What it would write is in the other one's way.
        """
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(min(1.0, BEAT)):
                if not self.beat():
                    with suppress(OSError, ValueError):
                        print(f"langevin: {self.path} was taken over by another host", file=sys.stderr)
                    os._exit(LOST)

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.release()

    def _write(self) -> None:
        assert self._handle is not None
        self._beats += 1
        self._beaten = time.monotonic()
        text = json.dumps({"holder": self._holder, "host": host(), "beat": self._beats})
        os.pwrite(self._handle, f"{text:<400}\n".encode(), 0)
        os.fsync(self._handle)

    def release(self) -> None:
        """Give it up; nothing happens if it is another one's."""
        with suppress(OSError):
            if self.held:
                self.path.unlink()
        self._drop()

    def _drop(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _is(path: Path, handle: int) -> bool:
    """Return whether this is the file that stands there: its last holder may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False


def _noted(path: Path) -> dict[str, Any] | None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _read(handle)
    finally:
        os.close(handle)


def _read(handle: int) -> dict[str, Any] | None:
    """Return who holds a claim; None if nobody does, or whoever wrote it was stopped over it."""
    try:
        noted = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return None
    return noted if isinstance(noted, dict) and {"holder", "host", "beat"} <= noted.keys() else None
