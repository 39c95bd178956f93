"""Checksums of whole files and of records, by which damage is noticed before a number is read.

A netCDF file of ours ends in a seal: `SEAL` bytes behind what HDF5 knows of, with a hash of all that stands
before it. HDF5 ignores what stands behind its end, and drops it when a file is opened for writing: whoever
edits a result leaves one without a seal, in which HDF5's checksums (fletcher32, of every chunk) are what
counts. The seal says everything twice, at its beginning and at its end, so that damage to it is not taken for
its absence.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from langevin.errors import StorageError

#: Begins the seal.
MAGIC = b"\nlangevin SHA-256"

#: Bytes of a seal.
SEAL = 2048

#: Beyond this many bytes a result is opened without a look at its seal: that would take more than an instant.
LIMIT = 100_000_000

_PIECE = 1 << 20
_RECORD = len(MAGIC) + 8 + 32


def short(data: bytes | memoryview) -> str:
    """Return a checksum of a record: 64 bits of its SHA-256, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def _digest(read: Callable[[int], bytes], size: int) -> bytes:
    """Return the SHA-256 of the next `size` bytes."""
    found = hashlib.sha256()
    while size > 0 and (part := read(min(size, _PIECE))):
        found.update(part)
        size -= len(part)
    return found.digest()


def seal(path: Path) -> None:
    """Put a seal behind a file that is complete."""
    with path.open("rb+", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        record = MAGIC + size.to_bytes(8, "little") + _digest(file.read, size)
        padded = record + bytes(SEAL - 2 * len(record)) + record
        if file.write(padded) != SEAL:
            # Only a full disk writes a part; the rest then says so.
            file.seek(size)
            file.write(padded)


def verify(path: Path) -> bool:
    """Make sure that a file is as it was when it was sealed.

    Returns
    -------
    bool
        Whether it has a seal: if not, nothing is known.

    Raises
    ------
    StorageError
        If it has one, and is not what was sealed.
    OSError
        If it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size - SEAL
        if size < 0:
            return False
        file.seek(size)
        end = file.read(SEAL)
        records = [record for record in (end[:_RECORD], end[-_RECORD:]) if record.startswith(MAGIC)]
        if not records:
            return False
        file.seek(0)
        if MAGIC + size.to_bytes(8, "little") + _digest(file.read, size) not in records:
            raise StorageError(f"{path} is damaged: it is not what was written (by its checksum)")
    return True
