"""Where published archives lie on this machine, and how they come there.

A file is looked for in the folder that [data] names, in the one that the environment variable LANGEVIN_DATA
names (in both also where torchvision leaves it: MNIST/raw, FashionMNIST/raw, cifar-10-batches-py,
cifar-100-python), and in the user's cache; then it is downloaded to the cache. What is used has the published
contents: every file is checked by its hash. Only `langevin data fetch --directory` writes to a user's folder,
and no file of a user is ever deleted.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langevin.errors import StorageError, UserError

from .idx import read_bytes, unpacked

VARIABLE = "LANGEVIN_DATA"

#: Where torchvision puts the files of a data set, under the folder that it is given.
TORCHVISION = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}

#: Seconds after which a silent server is given up.
TIMEOUT = 10.0


@dataclass(frozen=True)
class File:
    """A published file.

    Attributes
    ----------
    name : str
    packed : str
        MD5 of the file as published, in hexadecimal digits.
    plain : str
        MD5 of what gzip packed in it; empty if nobody published it. A copy that was packed anew, or is not
        packed, is known by it.
    """

    name: str
    packed: str
    plain: str = ""

    def contents(self, raw: bytes, where: str) -> bytes | None:
        """Return the unpacked contents, if `raw` is this file, packed in whatever way; else None."""
        if md5(raw) == self.packed:
            return unpacked(raw, where)
        try:
            content = unpacked(raw, where)
        except UserError:
            return None
        return content if self.plain and md5(content) == self.plain else None


@dataclass(frozen=True)
class Archive:
    """The files of a data set.

    Attributes
    ----------
    name : str
        Name of the data set, and of its folder.
    files : tuple of File
    urls : tuple of str
        Where all of them are, to be tried in turn; each ends in "/".
    """

    name: str
    files: tuple[File, ...]
    urls: tuple[str, ...]


def md5(raw: bytes) -> str:
    """Return the MD5 of bytes: what the authors of the archives publish."""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def cache() -> Path:
    """Return the folder of downloaded files."""
    import pooch

    return Path(pooch.os_cache("langevin"))


def require_home(path: Path) -> None:
    """Make sure that a file of the cache has a home: no folder named "~" is made for a user without one.

    Raises
    ------
    FileNotFoundError
    """
    if not cache().is_absolute() and path.is_relative_to(cache()):
        raise FileNotFoundError(errno.ENOENT, "no home folder; XDG_CACHE_HOME may name one", str(path))


def places(directory: str = "") -> list[Path]:
    """Return the users' folders to look in, in order.

    Parameters
    ----------
    directory : str
        What [data] names; empty: nothing.

    Raises
    ------
    UserError
        If one of them does not exist.
    """
    found = []
    for key, given in (("data.directory", directory), (VARIABLE, os.environ.get(VARIABLE, ""))):
        if given:
            folder = Path(given).expanduser()
            if not folder.is_dir():
                raise UserError(f"{key} = {given!r}: no such folder")
            found.append(folder)
    return found


def candidates(name: str, file: str, folders: Iterable[Path]) -> Iterator[Path]:
    """Yield where a file may lie: folder/name/file or folder/file, packed or not; then in the cache.

    torchvision's folders, too, and such a folder itself.
    """
    theirs = TORCHVISION.get(name)
    for folder in folders:
        inside = [folder / name, folder / name.replace("_", "-"), folder]
        if theirs is not None:
            inside[2:2] = [folder / theirs, folder / "raw"]
        for inner in inside:
            yield inner / file
            if file.endswith(".gz") and not file.endswith(".tar.gz"):
                yield inner / file.removesuffix(".gz")
    yield cache() / name / file


@dataclass(frozen=True)
class Unpacked:
    """A folder with the files of another version of an archive.

    Attributes
    ----------
    folder : str
        Its name.
    files : tuple of File
    """

    folder: str
    files: tuple[File, ...]

    def located(self, name: str, folders: Iterable[Path]) -> Path | None:
        """Return where it lies with all its files, if it does: inside of users' folders, or one of these."""
        for folder in folders:
            for inner in (folder / name, folder / name.replace("_", "-"), folder):
                for place in (inner / self.folder, inner):
                    if all((place / file.name).is_file() for file in self.files):
                        return place
        return None

    def read(self, place: Path) -> list[bytes]:
        """Return what its files hold.

        Raises
        ------
        UserError
            If one cannot be read, or has another hash.
        """
        contents = []
        for file in self.files:
            raw = read_bytes(place / file.name)
            if md5(raw) != file.packed:
                raise UserError(_mismatch(str(place / file.name), file, raw) + "; replace it or move it away")
            contents.append(raw)
        return contents


def lies(archive: Archive, folders: Sequence[Path]) -> bool:
    """Return whether there are files with the names of an archive's in users' folders, or in the cache."""
    return all(any(p.is_file() for p in candidates(archive.name, f.name, folders)) for f in archive.files)


def obtain(
    archive: Archive, file: File, folders: Sequence[Path], others: Sequence[File] = ()
) -> tuple[Path, bytes]:
    """Return where a file is and its unpacked contents; download it if it is nowhere.

    Parameters
    ----------
    archive : Archive
    file : File
        One of its files.
    folders : sequence of Path
        Where to look before the cache.
    others : sequence of File
        Files of other data sets that go by the same name: where one of them lies, this one does not.

    Raises
    ------
    UserError
        If a user's file has another hash, or there is no file and no download.
    """
    kept = cache() / archive.name / file.name
    looked = []
    for path in candidates(archive.name, file.name, folders):
        if str(path.parent) not in looked:
            looked.append(str(path.parent))
        if not path.is_file():
            continue
        raw = read_bytes(path)
        content = file.contents(raw, str(path))
        if content is not None:
            return path, content
        if path == kept:
            looked[-1] += " (the one there is damaged)"
        elif not any(o.name == file.name and o.contents(raw, str(path)) is not None for o in others):
            raise UserError(_mismatch(str(path), file, raw) + "; replace it or move it away")
    download(archive, file, kept.parent, f"none in {', '.join(looked)}")
    return kept, unpacked(read_bytes(kept), str(kept))


def fetch(archive: Archive, directory: Path | None, others: Sequence[File] = ()) -> list[Path]:
    """Make sure that all files of an archive are on this machine, and return where.

    Parameters
    ----------
    archive : Archive
    directory : Path, optional
        Where to keep them, in a folder of the data set's name. Default: wherever a run would find them, else
        the cache.
    others : sequence of File
        As for `obtain`.
    """
    if directory is None:
        folders = places()
        return [obtain(archive, file, folders, others)[0] for file in archive.files]
    folder = directory.expanduser() / archive.name
    for file in archive.files:
        path = folder / file.name
        if not path.exists():
            download(archive, file, folder, f"none in {folder}")
        elif file.contents(raw := read_bytes(path), str(path)) is None:
            raise UserError(_mismatch(str(path), file, raw) + "; replace it or move it away")
    return [folder / file.name for file in archive.files]


def download(archive: Archive, file: File, folder: Path, why: str) -> None:
    """Download a file to a folder, from the first address that has it; its hash is checked.

    Parameters
    ----------
    archive : Archive
    file : File
    folder : Path
        Made if it does not exist.
    why : str
        Why it is downloaded at all, for the message if that fails.

    Raises
    ------
    UserError
        If no address has it; the message says how each failed, and where to put the file by hand.
    StorageError
        If it cannot be written.
    """
    import pooch

    try:
        require_home(folder)
    except FileNotFoundError as error:
        raise StorageError(f"cannot write {folder / file.name}: {error.strerror}") from None
    # It would say on its own what the progress bar says.
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for url in archive.urls:
        try:
            pooch.retrieve(
                url + file.name, f"md5:{file.packed}", file.name, folder, downloader=_Downloader(file)
            )
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and not hasattr(error, "request"):
                raise StorageError(f"cannot write {folder / file.name}: {error.strerror or error}") from None
            failures.append(f"{urlsplit(url).hostname}: {_reason(error)}")
        else:
            return
    raise UserError(
        f"{archive.name}: {file.name}: {why}, and no download ({'; '.join(failures)}); put it at "
        f"{folder / file.name}, or in a folder that data.directory or {VARIABLE} names"
    )


class _Downloader:
    """pooch's HTTP download with our progress bar, and with a word about a wrong hash that names both."""

    def __init__(self, file: File) -> None:
        self.file = file

    def __call__(self, url: str, output: str, owner: Any) -> None:
        from pooch import HTTPDownloader
        from tqdm import tqdm

        # A total of 1 until the server says how much: pooch asks whether the bar is true.
        bar = tqdm(total=1, unit="B", unit_scale=True, desc=self.file.name, disable=None)
        with bar:
            HTTPDownloader(progressbar=bar, chunk_size=65536, timeout=TIMEOUT)(url, output, owner)
        raw = Path(output).read_bytes()
        if md5(raw) != self.file.packed:
            raise ValueError(_mismatch(self.file.name, self.file, raw))


def _mismatch(where: str, file: File, raw: bytes) -> str:
    return f"{where}: wrong hash: expected md5 {file.packed}, found {md5(raw)}"


def _reason(error: OSError | ValueError) -> str:
    """Say in a word or two why a download failed: the messages of `requests` fill several lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    known = {"ConnectionError": "no connection", "ConnectTimeout": "no answer", "ReadTimeout": "no answer"}
    name = type(error).__name__
    return str(error) if name == "ValueError" else known.get(name, name)


def located(archive: Archive) -> str:
    """Say where a run would find an archive; "not here" if it would have to download it.

    Large files are not read: their names tell. Small ones (labels) tell apart data sets whose files go by the
    same names.
    """
    folders: dict[str, None] = {}
    for file in archive.files:
        lying = (path for path in candidates(archive.name, file.name, places()) if path.is_file())
        path = next((path for path in lying if _plausible(file, path)), None)
        if path is None:
            return "not here"
        folders[str(path.parent)] = None
    return ", ".join(folders)


def _plausible(file: File, path: Path) -> bool:
    return path.stat().st_size > 100_000 or file.contents(read_bytes(path), str(path)) is not None
