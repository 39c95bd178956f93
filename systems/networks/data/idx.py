"""IDX, the format of MNIST and its kin: a magic number, big-endian sizes, then plain bytes.

Two zero bytes, the type (0x08: unsigned bytes), the number of dimensions D, D sizes of 4 bytes each, the
values with the last index fastest. The files are often packed by gzip, which is recognised by its own magic
number.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langevin.errors import UserError

UNSIGNED_BYTES = 0x08
GZIP = b"\x1f\x8b"


def read(path: Path) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes, plain or packed by gzip.

    Raises
    ------
    UserError
        If it cannot be read, or is not such a file, whole and nothing else.
    """
    return parse(unpacked(read_bytes(path), str(path)), str(path))


def read_bytes(path: Path) -> bytes:
    """Return what a file holds; `UserError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None


def unpacked(raw: bytes, where: str) -> bytes:
    """Return what gzip packed; bytes that are not packed as they are.

    Parameters
    ----------
    raw : bytes
    where : str
        Name of the file, for messages.

    Raises
    ------
    UserError
        If it is packed, but truncated or damaged.
    """
    if not raw.startswith(GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise UserError(f"{where}: truncated: gzip's end is missing after {len(raw)} bytes") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{where}: damaged: gzip cannot unpack it: {error}") from None


def parse(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return the array that unpacked IDX bytes hold, its shape as the header says.

    Parameters
    ----------
    content : bytes
    where : str
        Name of the file, for messages.

    Raises
    ------
    UserError
        If the magic number is another, or the size is not what the header says.
    """
    if len(content) < 4:
        raise UserError(
            f"{where}: truncated: {len(content)} bytes, an IDX file begins with 4 of magic number"
        )
    if content[:3] != bytes([0, 0, UNSIGNED_BYTES]) or content[3] not in (1, 2, 3, 4):
        raise UserError(
            f"{where}: not an IDX file of unsigned bytes: it begins with {content[:4].hex(' ')}; "
            "allowed: 00 00 08 01 to 00 00 08 04"
        )
    header = 4 * (1 + content[3])
    if len(content) < header:
        raise UserError(f"{where}: truncated: {len(content)} bytes, the header alone has {header}")
    shape = tuple(int(n) for n in np.frombuffer(content, dtype=">u4", count=content[3], offset=4))
    expected = header + math.prod(shape)
    if len(content) != expected:
        kind = "truncated" if len(content) < expected else "trailing bytes"
        raise UserError(
            f"{where}: {kind}: {len(content)} bytes, {expected} for the shape {shape} in its header"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy()
