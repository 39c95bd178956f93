"""Files are locked by the operating system, where the file system has locks."""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from pathlib import Path

from langevin.errors import LangevinWarning, StorageError, UserError

#: What a file system says that has no locks, or a sandbox that has no such call. Nobody holds one there: that
#: would be EWOULDBLOCK.
LACKING = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.ENOTTY}

#: The variable by which HDF5 is told not to lock files.
SWITCH = "HDF5_USE_FILE_LOCKING"

UNLOCKABLE = f"HDF5 cannot lock files on this file system; set {SWITCH}=FALSE before Python starts"


class Taken(UserError):
    """Another process works on a result."""


class Unlocked(LangevinWarning):
    """No lock keeps a second process off a result."""


def serves(path: Path) -> bool:
    """Return whether files can be locked where this file or folder is; True if it cannot be told."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in LACKING
    finally:
        os.close(handle)
    return True


def take(handle: int, path: Path, result: Path) -> bool:
    """Try to take the lock on an open file, which ends with the process, however it ends.

    Where the file system has no locks, this is said, and the run goes on. There is no other way: a file that
    says "taken" by being there would outlive a process that is killed, and the number of a process means
    nothing on another node.

    Parameters
    ----------
    handle : int
        Descriptor of the file.
    path : Path
        The file.
    result : Path
        What the warning names.

    Returns
    -------
    bool
        False if another process holds it.

    Raises
    ------
    StorageError
        If the file system fails.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LACKING:
            raise StorageError(f"cannot lock {path}: {error.strerror}") from error
        warnings.warn(
            f"the file system of {path.parent.absolute()} has no locks ({error.strerror}): a second process "
            f"on {result} is not kept off",
            Unlocked,
            stacklevel=2,
        )
        return True
    try:
        # Between opening and locking, its last holder may have removed the file.
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
