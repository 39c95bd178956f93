"""A command asks here whether it may write where it was told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langevin.errors import UserError
from langevin.speech import option

from .paths import Paths, require_writable
from .raw_records import STORED


def check_output(path: Path, inputs: Sequence[Path], force: bool, what: str = "a file") -> None:
    """Make sure that a command may write a file here, or a folder; with `force` it may replace what is there.

    Raises
    ------
    UserError
        If the path is no file's or one of the files that are read, its folder is missing or may not be
        written to, or something would be overwritten.
    """
    require_writable(path, str(path), what=what)
    if path.resolve() in {given.resolve() for given in inputs}:
        raise UserError(f"{path} is one of the files to read")
    if path.exists() and not force:
        raise UserError(f"{path} exists; overwrite it with {option('force')}, or give another name")


def refuse_links(paths: Paths) -> None:
    """Make sure that what goes on writes beside its checkpoint, and nowhere else.

    Raises
    ------
    UserError
        If one of the files that are written there is a symbolic link: whoever sent the folder could have it
        lead to any file of the user's. The result may be one, to where there is nothing yet.
    """
    if paths.result.is_symlink() and paths.result.exists():
        raise UserError(f"{paths.result}: a symbolic link to a file that is there; it would be replaced")
    beside = [paths.checkpoint, paths.references, *map(paths.raw, STORED), paths.sweep, paths.manifest]
    written = (paths.result, paths.checkpoint, paths.manifest)
    beside += [path.with_name(f".{path.name}.partial") for path in written]
    beside.append(paths.result.with_name(f".{paths.result.name}.lock"))
    for path in beside:
        if path.is_symlink():
            raise UserError(f"{path}: a symbolic link; what goes on writes to it, and it must be a file")
