"""The Python version of CIFAR-10 and CIFAR-100, as torchvision leaves it in a folder; nothing is unpickled.

Every file is a pickled dict of Python 2: "data" is an array of bytes, shape (P, 3·32·32), the channels red,
green, blue, rows first; "labels" (CIFAR-100: "fine_labels") a list of P integers. To unpickle a file may run
whatever its author wanted. So the opcodes are only listed (`pickletools`): the long string of bytes is the
images, and the integers between the key and the next string the labels. The contents are known by their
hash besides.
"""

from __future__ import annotations

import itertools
import pickletools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from langevin.errors import UserError

from .base import Examples
from .cifar import SHAPE


def parse(contents: Sequence[bytes], where: Sequence[str], key: str) -> Examples:
    """Return the examples of some files, one after the other.

    Parameters
    ----------
    contents : sequence of bytes
    where : sequence of str
        Names of the files, for messages.
    key : str
        Of the list of labels.

    Raises
    ------
    UserError
        If a file is no pickle of such a dict.
    """
    parts = [_parsed(content, name, key) for content, name in zip(contents, where, strict=True)]
    return Examples(np.concatenate([i for i, _ in parts]), np.concatenate([n for _, n in parts]))


def _parsed(content: bytes, where: str, key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images, uint8 of shape (P, 3, 32, 32), and labels, int64 of shape (P,)."""
    try:
        pickled = list(_values(content))
    except ValueError as error:
        raise UserError(f"{where}: truncated or damaged: no pickle: {error}") from None
    lengths = [len(value) if isinstance(value, str) else -1 for value in pickled]
    place = int(np.argmax(lengths)) if lengths else -1
    raw = str(pickled[place]).encode("latin-1", "replace") if max(lengths, default=-1) >= 0 else b""
    labels, size = _after(pickled, key), int(np.prod(SHAPE))
    if not labels or len(raw) != size * len(labels):
        raise UserError(
            f'{where}: {len(raw)} bytes of images and {len(labels)} labels under "{key}"; needed: {size} '
            "bytes for each label"
        )
    # What an array holds is preceded by whether its first index runs fastest.
    columns = place > 0 and pickled[place - 1] is True
    flat = np.frombuffer(raw, dtype=np.uint8)
    flat = flat.reshape(size, -1).T if columns else flat
    return np.ascontiguousarray(flat).reshape(-1, *SHAPE), np.array(labels, dtype=np.int64)


def _values(content: bytes) -> Iterator[str | int]:
    """Yield strings, integers and truth values of a pickle, in their order."""
    for opcode, value, _ in pickletools.genops(content):
        if opcode.name in ("NEWTRUE", "NEWFALSE"):
            yield opcode.name == "NEWTRUE"
        elif any(part in opcode.name for part in ("INT", "LONG", "STRING", "UNICODE")):
            assert isinstance(value, str | int)
            yield value


def _after(pickled: Sequence[str | int], key: str) -> list[int]:
    """Return the integers between a key and the next string."""
    if key not in pickled:
        return []
    rest = pickled[pickled.index(key) + 1 :]
    return list(itertools.takewhile(lambda value: isinstance(value, int), rest))  # type: ignore[arg-type]
