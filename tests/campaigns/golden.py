"""Results of all small runs are kept by one commit and compared bit for bit by another.

In a checkout of the commit before: ``python tests/campaigns/golden.py FOLDER --write``; in the other one the
same without ``--write``. Times of a file that the other commit does not measure at are left out; variables
that one of them lacks are named.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import click
import numpy as np
import xarray as xr

import langevin

ROOT = Path(__file__).parents[2]
#: Time that a member took.
VARIES = {"wall_time_seconds"}


def before(file: Path) -> Path | None:
    """Return the run file whose result another one begins from, or joins by curves."""
    given = tomllib.loads(file.read_text())
    result = given.get("start", {}).get("file") or given["system"].get("start")
    return file.with_name(result).with_suffix(".toml") if result else None


def carry_out(file: Path, folder: Path) -> Path:
    """Run a file, and first what it needs, unless it has been; return the result."""
    result = folder / f"{file.stem}.nc"
    if not result.exists():
        needed = before(file)
        if needed is not None:
            carry_out(needed, folder)
        langevin.run(str(file), {"output.figure": False}, threads=1, force=True).close()
    return result


def with_axis_of_configurations(old: xr.Dataset) -> xr.Dataset:
    """Return an old result in which configurations have an axis of times of their own, as they have now."""
    stored = [name for name in ("configuration", "configuration_buffers", "sketch") if name in old]
    moved = {
        name: (
            ["configuration_time" if dim == "time" else dim for dim in old[name].dims],
            old[name].to_numpy(),
        )
        for name in stored
    }
    return old.drop_vars(stored).assign(moved).assign_coords(configuration_time=old["time"].to_numpy())


def differences(old: xr.Dataset, new: xr.Dataset) -> list[str]:
    """Say in which variables two results differ by a bit, at the times that both have."""
    if "configuration_time" in new.coords and "configuration_time" not in old.coords:
        old = with_axis_of_configurations(old)
    shared = old
    for dim in (str(dim) for dim in old.dims if str(dim).endswith("time")):
        if dim in new.dims and dim in new.coords and not np.array_equal(old[dim], new[dim]):
            shared = shared.isel({dim: np.isin(old[dim], new[dim])})
    found = []
    for name in sorted({*map(str, old.variables), *map(str, new.variables)} - VARIES):
        if name not in new or name not in old:
            found.append(f"{name}: {'gone' if name in old else 'new'}")
        elif shared[name].to_numpy().tobytes() != new[name].to_numpy().tobytes():
            found.append(f"{name}: differs")
    return found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help="Keep results that are not there yet.")
@click.option("--only", multiple=True, help="Names of runs in runs/smoke (default: all).")
def main(folder: Path, write: bool, only: tuple[str, ...]) -> None:
    """Keep results of all small runs in FOLDER, or compare those of this checkout with them."""
    kept = folder.resolve()
    place = kept if write else kept / "compared"
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    different = False
    for file in sorted((ROOT / "runs/smoke").glob("*.toml")):
        if only and file.stem not in only:
            continue
        result = carry_out(file, place)
        if not write:
            with xr.open_dataset(kept / result.name) as old, xr.open_dataset(result) as new:
                said = differences(old, new)
            different |= bool(said)
            click.echo(f"{file.stem}: {', '.join(said) or 'the same'}")
    raise SystemExit(int(different))


if __name__ == "__main__":
    main()
