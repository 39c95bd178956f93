"""A result file is opened here, by whoever reads one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langevin.errors import UserError
from langevin.files import disk
from langevin.files.paths import Paths
from langevin.machine.extras import require_package
from langevin.machine.later import later
from langevin.speech import command

from .kinds import recognised

if TYPE_CHECKING:
    import xarray as xr

    from langevin.files import netcdf, zarr_folder
else:
    netcdf, zarr_folder = map(later, ("langevin.files.netcdf", "langevin.files.zarr_folder"))


def open_result(path: str | Path, chunks: Any = None) -> xr.Dataset:
    """Open a result file, a checkpoint, or a result that was exported as Zarr, lazily.

    Parameters
    ----------
    path : path
        A file, or a folder whose name ends in .zarr.
    chunks : optional
        As `xarray.open_dataset` takes it: arrays are then those of Dask. {} gives blocks of 32 MB or less, of
        whole chunks of the file, outermost dimensions (times) cut first; "auto", or a mapping of dimensions
        to sizes, is passed on. The default, None, has no use of Dask: arrays are read when they are used.

    Returns
    -------
    Dataset
        Of one of the kinds of `langevin.results.kinds`.

    Raises
    ------
    UserError
        If it is not there or not a result of this schema; if `chunks` are given, and Dask is not installed.
    StorageError
        If it is damaged; also from reading what is damaged later.
    """
    path = Path(path)
    if chunks is not None:
        require_package("dask", "chunks", "cluster")
    _require_there(path)
    dataset = _opened(path, chunks)
    if recognised(dataset) is None:
        dataset.close()
        if str(dataset.attrs.get("status", "")).startswith("unfinished"):
            raise UserError(f"{path}: its run has measured nothing yet")
        raise UserError(f"{path}: not a result of langevin (no energy(replica, time) in it)")
    return dataset


def _opened(path: Path, chunks: Any) -> xr.Dataset:
    if path.suffix == zarr_folder.ENDING and disk.kind(path) == "a folder":
        return zarr_folder.open_folder(path, chunks)
    disk.require_readable(path)
    try:
        return netcdf.open_dataset(path, chunks)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a netCDF file that can be read: {error}") from None


def _require_there(path: Path) -> None:
    try:
        if disk.kind(path) is not None:
            return
        hint = ""
        if Paths(path).checkpoint.exists():
            hint = f"; its run is unfinished: open {Paths(path).checkpoint}, or {command('resume', path)}"
        elif Paths(path).sweeping:
            hint = f"; its sweep is unfinished: {command('resume', path)}"
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    raise UserError(f"{path}: no such file{hint}")
