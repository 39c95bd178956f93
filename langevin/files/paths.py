"""The files of one run have their places here, beside its result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from langevin.errors import UserError
from langevin.speech import command, option

from . import disk, locking
from .disk import explained
from .raw_records import STORED


@dataclass(frozen=True)
class Paths:
    """The files of one run."""

    result: Path

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint stands."""
        return self.result.with_name(self.result.name.removesuffix(".nc") + ".checkpoint.nc")

    def raw(self, variable: str) -> Path:
        """Where a variable of the trajectory, or the snapshots, stand while the run goes on."""
        return self.checkpoint.with_suffix(f".{STORED[variable]}")

    @property
    def references(self) -> Path:
        """Where the references stand while the run goes on."""
        return self.checkpoint.with_suffix(".references")

    @property
    def claim(self) -> Path:
        """Where a worker says that it works on these files, for those of other hosts."""
        return self.result.with_name(self.result.name.removesuffix(".nc") + ".claim")

    @property
    def sweep(self) -> Path:
        """Folder of a sweep's members while it goes on."""
        return self.result.with_name(self.result.name.removesuffix(".nc") + ".sweep")

    @property
    def manifest(self) -> Path:
        """What a sweep is, and what it has come to: a file in its folder."""
        return self.sweep / "sweep.json"

    @property
    def sweeping(self) -> bool:
        """Whether a sweep stands here that is not finished."""
        return self.manifest.exists()

    @property
    def queue(self) -> Path:
        """Folder of the scripts by which a queue carries out a sweep, and of its logs."""
        return self.result.with_name(self.result.name.removesuffix(".nc") + ".slurm")

    @property
    def figure(self) -> Path:
        """Where the figure is drawn when the run ends."""
        return self.result.with_suffix(".png")

    def check(self, force: bool, figure: bool = False) -> None:
        """Make sure that a new run may write here; with `force` it may replace what is there.

        `figure` says whether the run will draw one.

        Raises
        ------
        UserError
            If the path is no file's, its folder is missing or may not be written to, its name is too long for
            the files beside it, or something would be overwritten.
        """
        require_writable(self.result, f"output.path = {str(self.result)!r}", self._longest)
        for path, kind in ((self.checkpoint, "run"), (self.manifest, "sweep")):
            if path.exists() and not force:
                raise UserError(
                    f"{self.sweep if kind == 'sweep' else path} holds an unfinished {kind}: "
                    f"continue it with {command('resume', self.result)}, or discard it with "
                    f"{option('force')}"
                )
        for path in (self.result, *([self.figure] if figure else [])):
            if path.exists() and not force:
                raise UserError(
                    f"{path} exists; overwrite it with {option('force')}, or give another output.path"
                )

    @property
    def _longest(self) -> str:
        """The longest name of a file beside the result."""
        aside = (f".{self.checkpoint.name}.partial", f".{self.sweep.name}.discarded")
        return max((*aside, *(self.raw(variable).name for variable in STORED)), key=len)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep every other process off these files; the lock ends with the process, however it ends.

        Where the file system has no locks, a warning says so.

        Yields
        ------
        int
            Descriptor of the locked file. A process that inherits it holds the lock, too, until it ends.

        Raises
        ------
        UserError
            If another process is working on them.
        """
        path = self.result.with_name(f".{self.result.name}.lock")
        with explained(self.result):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not locking.take(handle, path, self.result):
                raise locking.Taken(f"another process is working on {self.result}")
            try:
                yield handle
            finally:
                # A lock file that stays does no harm.
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def discard(self) -> None:
        """Remove the checkpoint, and then what it relies on; remove the folder of a sweep."""
        with explained(self.sweep, "remove"):
            aside = self.sweep.with_name(f".{self.sweep.name}.discarded")
            if self.sweeping:
                # Renamed first: half of a folder would be taken for a sweep, or for somebody else's.
                self.sweep.rename(aside)
            if aside.exists():
                shutil.rmtree(aside)
        with explained(self.checkpoint, "remove"):
            for path in (self.checkpoint, self.references, *map(self.raw, STORED)):
                path.unlink(missing_ok=True)


#: Examples in messages.
_SUCH_AS = {"a file": "pspin.nc", "a folder": "pspin.zarr"}
#: Ends of the longest names that stand beside them for a while (`disk`).
_ASIDE = {"a file": "partial", "a folder": "replaced"}


def require_writable(path: Path, said: str, longest: str | None = None, what: str = "a file") -> None:
    """Make sure that a file, or a folder, may be written here, whether or not there is one.

    Parameters
    ----------
    path : Path
    said : str
        What messages call it.
    longest : str, optional
        The longest name of a file that will stand beside it (default: that of the file before it is renamed).
    what : {"a file", "a folder"}

    Raises
    ------
    UserError
        If it is no file's, its folder is missing or may not be written to, or its name is too long.
    """
    try:
        path.name.encode()
        there = disk.kind(path)
        if there not in (None, what):
            raise UserError(f"{said} is {there}; give {what}, such as {_SUCH_AS[what]}")
        if disk.kind(path.parent) != "a folder":
            raise UserError(f"{said}: there is no folder {path.parent}")
        most = os.pathconf(path.parent, "PC_NAME_MAX")
        if (over := len(os.fsencode(longest or f".{path.name}.{_ASIDE[what]}")) - most) > 0:
            allowed = len(os.fsencode(path.name)) - over
            raise UserError(
                f"{said}: the name is too long, with the files beside it; allowed: {allowed} bytes"
            )
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise UserError(f"{said}: no permission to write in {path.parent}")
    except UnicodeEncodeError:
        raise UserError(f"{said}: the name is no UTF-8, as netCDF needs it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{said}: {getattr(error, 'strerror', None) or error}") from None
