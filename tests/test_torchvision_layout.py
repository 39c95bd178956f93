"""The folders that torchvision leaves are found, and are the same data; nothing in them is unpickled."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_archive import CONTENTS, FILES, NOBODY, Tiny, packed, records, tar

from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.systems.networks.data import depot, pickled
from langevin.systems.networks.data.archives import CIFAR10, CIFAR100, MNIST, FashionMNIST
from langevin.systems.networks.data.depot import Archive, File, Unpacked


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv(depot.VARIABLE, raising=False)


def array(content: np.ndarray, columns: bool) -> bytes:
    """An array of bytes as Python 2's numpy pickled it; with the first index fastest, perhaps."""
    rows, size = content.shape
    raw = content.tobytes("F" if columns else "C")
    shape = b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", size) + b"\x86"
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    begin = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01"
    return (
        begin
        + shape
        + kind
        + (b"\x88" if columns else b"\x89")
        + b"T"
        + struct.pack("<I", len(raw))
        + raw
        + b"tb"
    )


def python2(
    images: np.ndarray, labels: np.ndarray, key: str, columns: bool = False, more: bytes = b""
) -> bytes:
    """A batch as the authors of CIFAR pickled it (protocol 2), with what else is in it."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    listed = b"](" + b"".join(b"K" + bytes([n]) for n in labels.tolist()) + b"e"
    names = b"](" + b"".join(text(f"image_{n}.png") for n in range(len(labels))) + b"e"
    parts = [
        text("batch_label"),
        text("batch 1 of 5"),
        text(key),
        listed,
        text("data"),
        array(images, columns),
    ]
    return b"\x80\x02}(" + b"".join(parts) + text("filenames") + names + more + b"u."


def cifar_like(folder: Path, name: str, columns: bool = False) -> tuple[type[Any], np.ndarray, np.ndarray]:
    """Write a small CIFAR in torchvision's layout; return its class, images and labels of both sets."""
    base = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    files, every, labels = [], [], []
    (folder / base.python.folder).mkdir(parents=True)
    for number, file in enumerate(base.python.files):
        own = np.arange(3) + number
        _, images = records(own[:, None], seed=number)
        content = python2(images.reshape(3, -1), own, base.labels, columns)
        (folder / base.python.folder / file.name).write_bytes(content)
        files.append(File(file.name, depot.md5(content)))
        every.append(images)
        labels.append(own)
    sizes = (3 * (len(files) - 1), 3)

    class Small(base):  # type: ignore[valid-type, misc]
        """A few images."""

        archive = Archive(name, base.archive.files, (NOBODY,))
        python = Unpacked(base.python.folder, tuple(files))

    Small.sizes = sizes
    return Small, np.concatenate(every), np.concatenate(labels)


def load(kind: type[Any], **keys: Any) -> Any:
    return kind(kind.Parameters(scaling="unit", **keys)).load(Ensemble.regular(1, 1, 5))


@pytest.mark.filterwarnings("ignore:.*numpy.core")
@pytest.mark.parametrize("columns", [False, True])
def test_batches_are_read_as_unpickling_would(columns: bool) -> None:
    labels = np.arange(5)
    _, images = records(labels[:, None])
    content = python2(images.reshape(5, -1), labels, "labels", columns)
    known = pickle.loads(content, encoding="latin1")
    np.testing.assert_array_equal(known["data"], images.reshape(5, -1))
    found = pickled.parse([content, content], ["one", "two"], "labels")
    np.testing.assert_array_equal(found.inputs, np.concatenate([images, images]))
    np.testing.assert_array_equal(found.labels, known["labels"] * 2)
    assert found.inputs.dtype == np.uint8 and found.labels is not None and found.labels.dtype == np.int64


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """A pickle that makes a folder when it is unpickled, and the same bytes only read."""
    trap = tmp_path / "sprung"
    more = b"U\x04trapcos\nmkdir\n(U" + bytes([len(str(trap))]) + str(trap).encode() + b"tR"
    labels = np.arange(2)
    _, images = records(labels[:, None])
    content = python2(images.reshape(2, -1), labels, "labels", more=more)
    assert len(pickled.parse([content], ["batch"], "labels")) == 2
    assert not trap.exists()
    pickle.loads(content, encoding="latin1")
    assert trap.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no pickle"),
        (b"nothing of the kind", "no pickle"),
        (pickle.dumps({}, 2), '0 bytes of images and 0 labels under "labels"'),
        (python2(np.zeros((2, 3072), np.uint8), np.arange(3), "labels"), "6144 bytes of images and 3 labels"),
        (python2(np.zeros((2, 3072), np.uint8), np.arange(2), "coarse_labels"), "6144 bytes of images and 0"),
        (python2(np.zeros((2, 3072), np.uint8), np.arange(2), "labels")[:-4000], "batch: .*no pickle"),
    ],
)
def test_damaged_batches_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        pickled.parse([content], ["batch"], "labels")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("where", ["LANGEVIN_DATA", "directory", "inner", "itself"])
def test_cifar(name: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data" / name if where == "inner" else tmp_path / "data"
    kind, images, labels = cifar_like(root, name)
    keys = {}
    if where == "directory":
        keys["directory"] = str(root)
    else:
        given = root / kind.python.folder if where == "itself" else tmp_path / "data"
        monkeypatch.setenv(depot.VARIABLE, str(given))
        assert kind.located() == str(root / kind.python.folder)
        assert [p.name for p in kind.fetch()] == [f.name for f in kind.python.files]
    data = load(kind, **keys)
    count = kind.sizes[0]
    np.testing.assert_array_equal(data.train.inputs, images[:count])
    np.testing.assert_array_equal(data.test.inputs, images[count:])
    np.testing.assert_array_equal(data.train.labels, labels[:count])
    assert data.attributes["source"] == str(root / kind.python.folder)
    # The same data as in the archive: a run goes on with either.
    assert data.attributes["hash"] == f"{kind.archive.files[0].name} md5:{kind.archive.files[0].packed}"


def test_other_batches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, _ = cifar_like(tmp_path, "cifar10")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    monkeypatch.setenv(depot.VARIABLE, str(tmp_path))
    with pytest.raises(
        UserError, match=r"data_batch_3: wrong hash: expected md5 .*; replace it or move it away"
    ):
        load(kind)
    # A folder that is not whole is none.
    path.unlink()
    with pytest.raises(UserError, match=r"cifar-10-binary.tar.gz: none in .*no download"):
        load(kind)


def test_an_archive_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, _ = cifar_like(tmp_path, "cifar10")
    content, images = records(np.array([[1], [2], [3]]), seed=77)
    members = {name: content for names in CIFAR10.members for name in names}
    raw = packed(tar(members))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(raw)
    archive = Archive("cifar10", (File("cifar-10-binary.tar.gz", depot.md5(raw)),), (NOBODY,))
    monkeypatch.setattr(kind, "archive", archive)
    monkeypatch.setenv(depot.VARIABLE, str(tmp_path))
    np.testing.assert_array_equal(load(kind).test.inputs, images)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
@pytest.mark.parametrize("given", [".", "inside"])
@pytest.mark.parametrize("pack", [True, False])
def test_idx_files(
    kind: type[Any], given: str, pack: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision spells it: MNIST/raw, FashionMNIST/raw, packed or not; both in one folder."""
    contents = list(CONTENTS.values())
    files = tuple(
        File(f.name, own.packed, own.plain) for f, own in zip(kind.archive.files, FILES, strict=True)
    )

    class Small(Tiny):
        """Six images under torchvision's names."""

        archive = Archive(kind.archive.name, files, (NOBODY,))

        @classmethod
        def others(cls) -> list[File]:
            return []

    name = {MNIST: "MNIST", FashionMNIST: "FashionMNIST"}[kind]
    folder = tmp_path / name / "raw"
    folder.mkdir(parents=True)
    for file, content in zip(files, contents, strict=True):
        path = folder / (file.name if pack else file.name.removesuffix(".gz"))
        path.write_bytes(packed(content) if pack else content)
    monkeypatch.setenv(depot.VARIABLE, str(tmp_path / name if given == "inside" else tmp_path))
    data = load(Small)
    assert data.attributes["source"] == str(folder)
    assert Small.located() == str(folder)
    # The other's folder is not looked into.
    other = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}[kind.archive.name]
    if given == ".":
        looked = depot.candidates(other, files[0].name, [tmp_path])
        assert not any(p.is_file() for p in looked)


@pytest.mark.skipif(not os.environ.get(depot.VARIABLE), reason=f"{depot.VARIABLE} names no folder")
def test_real_files_in_torchvisions_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fashion-MNIST itself, as links in another layout."""
    files = [
        next((p for p in depot.candidates("fashion_mnist", f.name, [REAL]) if p.is_file()), None)
        for f in FashionMNIST.archive.files
    ]
    if None in files:
        pytest.skip("no Fashion-MNIST")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in filter(None, files):
        (raw / path.name).symlink_to(path)
    monkeypatch.setenv(depot.VARIABLE, str(tmp_path))
    assert len(load(FashionMNIST).train) == 60_000


REAL = Path(os.environ.get(depot.VARIABLE, "."))
