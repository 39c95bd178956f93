"""Checksums of whole files and of records show damage before a number is read.

A netCDF file of ours ends in a seal: `SEAL` bytes behind what HDF5 knows of, with a hash of all that stands
before it. HDF5 ignores what stands behind its end, and drops it when a file is opened for writing: whoever
edits a result leaves one without a seal, in which HDF5's checksums (fletcher32, of every chunk) are what
counts. The seal says everything twice, at its beginning and at its end, so that damage to it is not taken for
its absence.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from langevin.errors import StorageError

#: Begins the seal.
MAGIC = b"\nlangevin SHA-256"

#: Bytes of a seal.
SEAL = 2048

#: A result of more bytes has no seal, for to look at it would take more than an instant.
LIMIT = 100_000_000

_PIECE = 1 << 22
_THREADS = 4
_SIZE = len(MAGIC) + 8 + 32


def short(data: bytes | memoryview) -> str:
    """Return a checksum of a record: 64 bits of its SHA-256, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def _record(handle: int, size: int) -> bytes:
    """Return what the seal of a file says whose first `size` bytes are sealed.

    Pieces are hashed by several threads, and then their hashes, for one thread takes longer than the disk.
    """

    def hashed(start: int) -> bytes:
        digest, left = hashlib.sha256(), min(_PIECE, size - start)
        while left and (part := os.pread(handle, left, start)):
            digest.update(part)
            start, left = start + len(part), left - len(part)
        return digest.digest()

    starts = range(0, size, _PIECE)
    if len(starts) < 2:
        pieces = [hashed(start) for start in starts]
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            pieces = list(pool.map(hashed, starts))
    return MAGIC + size.to_bytes(8, "little") + hashlib.sha256(b"".join(pieces)).digest()


def seal(path: Path, most: float = LIMIT) -> None:
    """Put a seal behind a file that is complete, unless it has more than `most` bytes."""
    with path.open("rb+", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            return
        record = _record(file.fileno(), size)
        file.seek(size)
        rest = memoryview(record + bytes(SEAL - 2 * len(record)) + record)
        while rest:
            # A full disk takes a part first; the next one then says so.
            rest = rest[file.write(rest) :]


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
        records = [record for record in (end[:_SIZE], end[-_SIZE:]) if record.startswith(MAGIC)]
        if not records:
            return False
        if _record(file.fileno(), size) not in records:
            raise StorageError(f"{path} is damaged: it is not what was written (by its checksum)")
    return True
