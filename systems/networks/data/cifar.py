"""The binary version of CIFAR-10 and CIFAR-100, read from the tar archive itself: nothing is written to disk.

Every record is one image: the label (CIFAR-100: coarse, then fine), one byte each, then 3 × 32 × 32 bytes,
the channels red, green, blue, rows first.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from langevin.errors import UserError

from .base import Examples

SHAPE = (3, 32, 32)


def parse(content: bytes, where: str, members: Sequence[str], label_bytes: int) -> Examples:
    """Return the examples of some files of an archive, one file after the other.

    Parameters
    ----------
    content : bytes
        The tar archive, unpacked by gzip.
    where : str
        Name of the archive, for messages.
    members : sequence of str
        Names of the files in it, without folder.
    label_bytes : int
        Bytes of labels in every record; the last of them is the class.

    Raises
    ------
    UserError
        If it is no tar archive, lacks a file, or a file is not made of whole records.
    """
    size = label_bytes + int(np.prod(SHAPE))
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            files = {PurePosixPath(entry.name).name: entry for entry in archive if entry.isfile()}
            records = [_records(archive, files.get(name), name, size, where) for name in members]
    except tarfile.TarError as error:
        raise UserError(f"{where}: truncated or damaged: not a tar archive: {error}") from None
    together = np.concatenate(records)
    images = np.ascontiguousarray(together[:, label_bytes:]).reshape(-1, *SHAPE)
    return Examples(images, together[:, label_bytes - 1].astype(np.int64))


def _records(
    archive: tarfile.TarFile, entry: tarfile.TarInfo | None, name: str, size: int, where: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    stream = archive.extractfile(entry) if entry is not None else None
    if entry is None or stream is None:
        raise UserError(f"{where}: truncated or damaged: there is no {name} in it")
    content = stream.read()
    if not content or len(content) % size:
        raise UserError(
            f"{where}: {name} has {len(content)} bytes, no multiple of {size}, the size of a record"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
