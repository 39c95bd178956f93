"""Results are written in the formats of others; the ending of the output says which (`langevin export`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from langevin.errors import UserError
from langevin.files import zarr_folder
from langevin.results import export as frames
from langevin.results.members import select
from langevin.speech import option

from . import shell

#: Endings of what can be written.
ENDINGS = (*frames.ENDINGS, zarr_folder.ENDING)


def export(
    file: Path, output: Path, at: Sequence[str], force: bool, of_frames: Mapping[str, int | None]
) -> str:
    """Write a result, or members of a sweep, in another format; return what was written.

    Parameters
    ----------
    file, output : Path
    at : sequence of str
        Of a sweep, "name=value" of its members.
    force : bool
        Replace what is there.
    of_frames : mapping
        What `langevin.results.export.save` takes besides; None: not given.

    Raises
    ------
    UserError
        If the ending is unknown, an option does not fit it, or `check_outputs` says so.
    Interrupted
        By Ctrl-C or another signal; nothing is then written.
    """
    given = {name: value for name, value in of_frames.items() if value is not None}
    shell.ending(*ENDINGS)(output)
    folder = output.suffix == zarr_folder.ENDING
    if folder and given:
        options = ", ".join(option(name) for name in given)
        raise UserError(f"{options}: of frames of a .gsd; a {zarr_folder.ENDING} folder holds all")
    said: list[str] = []

    def write(dataset: xr.Dataset, path: Path) -> None:
        said.append(_folder(dataset, path) if folder else f"{frames.save(dataset, path, **given)} frames")

    written = shell.Output(
        "result" if folder else "frames",
        output,
        write,
        zarr_folder.check if folder else lambda path: None,
        "a folder" if folder else "a file",
    )
    with shell.reading([file]) as (dataset,):
        shell.carry_out(lambda: select(dataset, at), [written], [file], force)
    return f"{output} ({said[0]})"


def _folder(dataset: xr.Dataset, path: Path) -> str:
    with shell.bar(zarr_folder.parts(dataset), path.name, "part", True) as done:
        zarr_folder.write(dataset, path, done)
    return f"{len(dataset.variables)} variables, {zarr_folder.size(path) / 1e6:.3g} MB"
