"""Archives made on the spot: the formats of the published ones, and a data set of six images."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile

import numpy as np

from langevin.systems.networks.data import cifar, depot
from langevin.systems.networks.data.archives import _IDX
from langevin.systems.networks.data.depot import Archive, File


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"folder/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def records(labels: np.ndarray, seed: int = 0) -> tuple[bytes, np.ndarray]:
    """Return records and their images, for labels of shape (P, label bytes)."""
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *cifar.SHAPE), dtype=np.uint8)
    together = np.concatenate([labels.astype(np.uint8), images.reshape(len(labels), -1)], axis=1)
    return together.tobytes(), images


PIXELS = np.random.default_rng(1).integers(0, 256, (6, 4, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0], dtype=np.uint8)
CONTENTS = {
    "train-images.gz": idx_bytes(PIXELS[:4]),
    "train-labels.gz": idx_bytes(LABELS[:4]),
    "test-images.gz": idx_bytes(PIXELS[4:]),
    "test-labels.gz": idx_bytes(LABELS[4:]),
}
FILES = tuple(File(n, depot.md5(packed(c)), depot.md5(c)) for n, c in CONTENTS.items())
#: Port 1 of this machine: nobody answers, and that is known at once.
NOBODY = "http://127.0.0.1:1/"


class Tiny(_IDX):
    """Six images of four by four pixels."""

    archive = Archive("tiny_set", FILES, (NOBODY,))
    classes, shape, sizes = 3, (1, 4, 4), (4, 2)
