"""A result file is opened here, by whoever reads one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langevin.errors import UserError
from langevin.files import disk
from langevin.files.paths import Paths
from langevin.machine.later import later

from .kinds import recognised

if TYPE_CHECKING:
    import xarray as xr

    from langevin.files import netcdf
else:
    netcdf = later("langevin.files.netcdf")


def open_result(path: str | Path) -> xr.Dataset:
    """Open a result file, or a checkpoint, lazily.

    Returns
    -------
    Dataset
        Of one of the kinds of `langevin.results.kinds`.

    Raises
    ------
    UserError
        If it is not there or not a netCDF file of this schema.
    StorageError
        If it is damaged; also from reading what is damaged later.
    """
    path = Path(path)
    _require_there(path)
    disk.require_readable(path)
    try:
        dataset = netcdf.open_dataset(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a netCDF file that can be read: {error}") from None
    if recognised(dataset) is None:
        dataset.close()
        if str(dataset.attrs.get("status", "")).startswith("unfinished"):
            raise UserError(f"{path}: its run has measured nothing yet")
        raise UserError(f"{path}: not a result of langevin (no energy(replica, time) in it)")
    return dataset


def _require_there(path: Path) -> None:
    try:
        if disk.kind(path) is not None:
            return
        hint = ""
        if Paths(path).checkpoint.exists():
            hint = f"; its run is unfinished: open {Paths(path).checkpoint}, or `langevin resume {path}`"
        elif Paths(path).sweeping:
            hint = f"; its sweep is unfinished: `langevin resume {path}`"
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    raise UserError(f"{path}: no such file{hint}")
