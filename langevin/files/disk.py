"""Files are written aside and renamed, so that none is ever half-written; failures come in plain words."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langevin.errors import StorageError, UserError

from . import locking, sealing

#: What a file may be besides a file. To open one of these may wait for ever.
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

#: Bytes that are written to find out why a library could not write.
PROBE = 1_000_000

#: What file systems say that cannot sync a folder, or do not let it be read.
UNSYNCED = {errno.EINVAL, errno.EBADF, errno.EACCES, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP}


def kind(path: Path) -> str | None:
    """Return what stands at a path: "a file", "a folder", "a FIFO", …; None if nothing does.

    Raises
    ------
    OSError
        If the file system does not say it: a folder on the way may not be entered, a name is too long.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return KINDS.get(stat.S_IFMT(mode), "a file")


def require_readable(path: Path) -> None:
    """Make sure that a path is a file's, and that it may be read.

    Raises
    ------
    UserError
        If it is something else: to open a FIFO would wait for its other end.
    """
    try:
        path.name.encode()
        there = kind(path)
        if there == "a file":
            os.close(os.open(path, os.O_RDONLY))
    except UnicodeEncodeError:
        raise UserError(f"{os.fsencode(path)!r}: the name is no UTF-8, as netCDF needs it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if there != "a file":
        raise UserError(f"{path}: no such file" if there is None else f"{path} is {there}; needed: a file")


@contextmanager
def explained(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn what the file system or the netCDF library says into one line that names the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise StorageError(f"cannot {doing} {path}: {reason(error, path)}") from error


def reason(error: Exception, path: Path) -> str:
    """Return in words why a file could not be written."""
    number = getattr(error, "errno", None)
    folder = path.parent.absolute()
    if number == errno.ENOSPC:
        return f"no space left on the file system of {folder}"
    if number == errno.EDQUOT:
        return f"the disk quota is used up on the file system of {folder}"
    if number == errno.EFBIG:
        return f"a file may not become larger here (ulimit -f, or the file system of {folder})"
    if number == errno.ENOENT and not folder.is_dir():
        return f"there is no folder {folder} any more"
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; at the end it becomes `path` in one step, or nothing is left of it.

    A link stays, and what it leads to is replaced. The mode of the new file is what the umask says, whoever
    writes it.
    """
    target = Path(os.path.realpath(path))
    aside = target.with_name(f".{target.name}.partial")
    with explained(path):
        try:
            # What a killed process left there would keep its mode.
            aside.unlink(missing_ok=True)
            aside.open("xb").close()
            with _seen(aside):
                yield aside
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            aside.replace(target)
        finally:
            # If this cannot be done either, the first failure is the one to hear of.
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        sync_folder(target.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write to; at the end it becomes `path`, or nothing is left of it.

    What was there is moved aside first, for a folder that is not empty is never replaced by a renaming. A
    process that is killed between the two renamings leaves the old one whole, as `.name.replaced`; the next
    one puts it back first.
    """
    target = Path(os.path.realpath(path))
    aside, before = (target.with_name(f".{target.name}.{what}") for what in ("partial", "replaced"))
    with explained(path):
        try:
            if before.exists() and not target.exists():
                # A process was killed between its renamings.
                before.replace(target)
            for left in (aside, before):
                remove(left)
            aside.mkdir()
            yield aside
            for folder, _, files in os.walk(aside):
                for name in files:
                    with (Path(folder) / name).open("rb+") as file:
                        os.fsync(file.fileno())
                sync_folder(Path(folder))
            if target.exists():
                target.replace(before)
            aside.replace(target)
        finally:
            # If this cannot be done either, the first failure is the one to hear of.
            with suppress(OSError):
                remove(aside)
        sync_folder(target.parent)
        remove(before)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _seen(aside: Path) -> Iterator[None]:
    """Find out what a library met that says no more than that it failed, such as "HDF error"."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and (error.errno or 0) > 0 and error.errno != errno.EACCES:
            raise
        if not locking.serves(aside):
            raise RuntimeError(locking.UNLOCKABLE) from error
        handle = os.open(aside, os.O_WRONLY | os.O_APPEND)
        try:
            data = memoryview(bytes(PROBE))
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        raise


def sync_folder(folder: Path) -> None:
    """Bring a renaming onto the disk: after a power cut the old file would be back."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise


class Raw:
    """A file of raw bytes at known places; what is written is handed on at once, so that nothing fails later.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)

    @property
    def size(self) -> int:
        """Bytes that the file has."""
        with explained(self.path, "read"):
            return os.fstat(self._file.fileno()).st_size

    def write(self, values: NDArray[Any], start: int) -> str:
        """Write an array, row after row, from the byte `start` on; return the checksum of its bytes."""
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        checksum, handle = sealing.short(data), self._file.fileno()
        with explained(self.path):
            while data:
                done = os.pwrite(handle, data, start)
                data, start = data[done:], start + done
        return checksum

    def read(self, start: int, size: int, checksum: str) -> NDArray[np.uint8]:
        """Return `size` bytes from `start` on.

        Raises
        ------
        StorageError
            If they are not what was written, or not there.
        """
        record = np.empty(size, np.uint8)
        left, handle = record.data, self._file.fileno()
        with explained(self.path, "read"):
            while left and (done := os.preadv(handle, [left], start)):
                left, start = left[done:], start + done
        if left or sealing.short(record.data) != checksum:
            raise StorageError(f"{self.path} is damaged: a record is not what was written (by its checksum)")
        return record

    def flush(self) -> None:
        """Bring everything written onto the disk."""
        with explained(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
