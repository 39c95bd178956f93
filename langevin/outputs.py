"""Whether a command may write where it was told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langevin import files
from langevin.errors import UserError


def check_output(path: Path, inputs: Sequence[Path], force: bool) -> None:
    """Make sure that a command may write here; with `force` it may replace what is there.

    Raises
    ------
    UserError
        If the path is a folder or one of the files that are read, its folder is missing, or something would
        be overwritten.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is {files.kind(path)}; give a file")
    if path.resolve() in {given.resolve() for given in inputs}:
        raise UserError(f"{path} is one of the files to read")
    if path.exists() and not force:
        raise UserError(f"{path} exists; overwrite it with --force, or give another name")
