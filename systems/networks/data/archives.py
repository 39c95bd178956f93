"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100: found on this machine or downloaded, and checked.

The hashes are those on the authors' pages, of torchvision's folders those in torchvision. Fashion-MNIST is
often found packed anew, and MNIST unpacked: such copies are known by the hashes of their contents.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from langevin.config.keys import key
from langevin.core.capabilities import ChecksSettings, Fetched, StandsInFiles
from langevin.core.ensemble import Ensemble
from langevin.core.system import DataSet
from langevin.errors import UserError

from . import cifar, depot, idx, pickled
from .base import Data, DataKeys, Examples, count_faults, scaling, shares
from .depot import Archive, File, Unpacked

if TYPE_CHECKING:
    from langevin.config.settings import Settings

CIFAR_URLS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")


class Archived(DataSet, ChecksSettings, StandsInFiles, Fetched):
    """A published data set.

    Class attributes: `archive`, its files; `shape` (channels, height, width); `classes`; `sizes`, the numbers
    of training and test examples. A subclass says how to read them.
    """

    archive: ClassVar[Archive]
    shape: tuple[int, int, int]
    classes: int
    sizes: tuple[int, int]

    class Parameters(DataKeys):
        """What stands under [data]."""

        directory: str = key(
            "folder with a local copy, else LANGEVIN_DATA, the cache, a download", default=""
        )

    @classmethod
    def check(cls, settings: Settings) -> Iterable[str]:
        """Yield what is wrong with the numbers of examples and of samples."""
        return count_faults(settings, cls.archive.name, cls.sizes)

    @classmethod
    def others(cls) -> list[File]:
        """Return the files of other data sets that go by the names of this one's."""
        return [
            file
            for archive in (MNIST.archive, FashionMNIST.archive)
            if archive != cls.archive
            for file in archive.files
        ]

    @classmethod
    def fetch(cls, directory: Path | None = None) -> list[Path]:
        """Make sure that the files are on this machine, and return where (see `depot.fetch`)."""
        return depot.fetch(cls.archive, directory, cls.others())

    @classmethod
    def located(cls) -> str:
        """Say where a run would find the files, or that they are not here."""
        return depot.located(cls.archive)

    def load(self, ensemble: Ensemble) -> Data:
        """Return all examples, and the rows of each sample."""
        keys, name = self.parameters, self.archive.name
        train, test, where = self.read(depot.places(keys.directory))
        for which, examples, size in zip(("training", "test"), (train, test), self.sizes, strict=True):
            if examples.inputs.shape != (size, *self.shape):
                raise UserError(
                    f"{name}: {which} images of shape {examples.inputs.shape}; allowed: {(size, *self.shape)}"
                )
        rows = shares(ensemble, "data", len(train), keys.train)
        test_rows = shares(ensemble, "test data", len(test), keys.test)
        attributes = {
            "hash": "; ".join(f"{file.name} md5:{file.packed}" for file in self.archive.files),
            "source": ", ".join(dict.fromkeys(str(path.parent) for path in where)),
            "train_examples": str(len(next(iter(rows.values())))),
            "test_examples": str(len(next(iter(test_rows.values())))),
        }
        scale, shift = scaling(np.asarray(train.inputs, dtype=np.uint8), keys.scaling)
        population = dict.fromkeys(rows, np.arange(len(train)))
        return Data(
            name,
            train,
            test,
            self.classes,
            scale,
            shift,
            rows,
            test_rows,
            attributes,
            population=population,
        )

    def read(self, folders: list[Path]) -> tuple[Examples, Examples, list[Path]]:
        """Return training and test examples, and the files that they come from."""
        obtained = [depot.obtain(self.archive, file, folders, self.others()) for file in self.archive.files]
        where = [path for path, _ in obtained]
        return *self.parse([content for _, content in obtained], [str(path) for path in where]), where

    def parse(self, contents: list[bytes], where: list[str]) -> tuple[Examples, Examples]:
        """Return training and test examples from the unpacked contents of the files, named by `where`."""
        raise NotImplementedError


class _IDX(Archived):
    """Images and labels of training, then of test, in IDX files."""

    classes = 10
    shape = (1, 28, 28)
    sizes = (60_000, 10_000)

    def parse(self, contents: list[bytes], where: list[str]) -> tuple[Examples, Examples]:
        """Return training and test examples; images of shape (P, height, width) get their one channel."""
        arrays = [idx.parse(content, name) for content, name in zip(contents, where, strict=True)]
        train, test = (
            Examples(images[:, np.newaxis], labels.astype(np.int64))
            for images, labels in (arrays[:2], arrays[2:])
        )
        return train, test


def _idx_files(*hashes: tuple[str, str]) -> tuple[File, ...]:
    """Return the files of images and labels, of training and test, with the MD5 of each packed and plain."""
    parts = ((which, kind) for which in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
    names = [f"{which}-{kind}-ubyte.gz" for which, kind in parts]
    return tuple(File(name, *pair) for name, pair in zip(names, hashes, strict=True))


class MNIST(_IDX):
    """MNIST: handwritten digits, 28 × 28 pixels, 60,000 and 10,000 (LeCun et al. 1998)."""

    archive = Archive(
        "mnist",
        _idx_files(
            ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
            ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
            ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
            ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    )


class FashionMNIST(_IDX):
    """Fashion-MNIST: pieces of clothing, 28 × 28 pixels, 60,000 and 10,000 (Xiao et al. 2017)."""

    archive = Archive(
        "fashion_mnist",
        _idx_files(
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
            ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
            ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
    )


class _CIFAR(Archived):
    """Colour images in one tar archive, or in the folder that torchvision makes of another one."""

    shape = cifar.SHAPE
    sizes = (50_000, 10_000)
    members: ClassVar[tuple[list[str], list[str]]]
    label_bytes: ClassVar[int]
    #: torchvision's folder, the file of the test set last, and what the labels are called in it.
    python: ClassVar[Unpacked]
    labels: ClassVar[str]

    @classmethod
    def _folder(cls, folders: list[Path]) -> Path | None:
        """Return torchvision's folder, if it is there and the archive is not."""
        return None if depot.lies(cls.archive, folders) else cls.python.located(cls.archive.name, folders)

    @classmethod
    def located(cls) -> str:
        """Say where a run would find the files, or that they are not here."""
        folder = cls._folder(depot.places())
        return super().located() if folder is None else str(folder)

    @classmethod
    def fetch(cls, directory: Path | None = None) -> list[Path]:
        """Make sure that the files are on this machine, and return where (see `depot.fetch`)."""
        folder = cls._folder(depot.places()) if directory is None else None
        if folder is None:
            return super().fetch(directory)
        cls.python.read(folder)
        return [folder / file.name for file in cls.python.files]

    def read(self, folders: list[Path]) -> tuple[Examples, Examples, list[Path]]:
        """Return training and test examples, and the files that they come from."""
        folder = self._folder(folders)
        if folder is None:
            return super().read(folders)
        where = [folder / file.name for file in self.python.files]
        contents, names = self.python.read(folder), [str(path) for path in where]
        train = pickled.parse(contents[:-1], names[:-1], self.labels)
        return train, pickled.parse(contents[-1:], names[-1:], self.labels), where

    def parse(self, contents: list[bytes], where: list[str]) -> tuple[Examples, Examples]:
        """Return training and test examples."""
        train, test = (cifar.parse(contents[0], where[0], names, self.label_bytes) for names in self.members)
        return train, test


class CIFAR10(_CIFAR):
    """CIFAR-10: colour photographs, 32 × 32 pixels, 50,000 and 10,000 (Krizhevsky 2009)."""

    archive = Archive(
        "cifar10", (File("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),), CIFAR_URLS
    )
    classes = 10
    members = ([f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"])
    label_bytes = 1
    python = Unpacked(
        "cifar-10-batches-py",
        (
            File("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            File("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            File("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            File("data_batch_4", "634d18415352ddfa80567beed471001a"),
            File("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            File("test_batch", "40351d587109b95175f43aff81a1287e"),
        ),
    )
    labels = "labels"


class CIFAR100(_CIFAR):
    """CIFAR-100: colour photographs of 100 classes (the fine labels), else as CIFAR-10."""

    archive = Archive(
        "cifar100", (File("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),), CIFAR_URLS
    )
    classes = 100
    members = (["train.bin"], ["test.bin"])
    label_bytes = 2
    python = Unpacked(
        "cifar-100-python",
        (File("train", "16019d7e3df5f24257cddd939b257f8d"), File("test", "f0ef6b0ae62326f3e7ffdfab6717acfc")),
    )
    labels = "fine_labels"
