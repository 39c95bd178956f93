"""Result files as a stranger may hand them over: anything in their attributes, variables of other shapes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

#: What a file that was believed would leave behind.
MARK = "believed"

#: What stands in the place of an attribute.
TEXTS = (
    "",
    "x" * 100_000,
    "{",
    "[]",
    "null",
    "{}",
    "[" * 100_000,
    "1" * 5000,
    '{"system": 3, "dynamics": [], "record": "x", "ensemble": null, "output": 1}',
    "\x1b]0;title\x07\x1b[31m",
    "line\nline\n" * 50,
    "ÿ€𝔘",
)

Altered = Callable[[netCDF4.Dataset, random.Random], str]


def attribute(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Replace an attribute, of the file or of a variable, by something else, or remove it."""
    holder = chances.choice([file, file, *file.variables.values()])
    names = [n for n in holder.ncattrs() if n != "_FillValue"]
    if not names:
        return "nothing"
    name = chances.choice(names)
    value: Any = chances.choice((*TEXTS, 7, -1.5, np.nan, np.arange(4.0), None))
    holder.delncattr(name)
    if value is not None:
        holder.setncattr(name, value)
    return f"attribute {name} of {getattr(holder, 'name', 'file')[:30]}: {str(value)[:30]!r}"


def settings(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Change something in the settings: a value, a name, or a module that runs a command of the shell."""
    given = json.loads(file.getncattr("settings"))
    section = chances.choice([s for s in given if isinstance(given[s], dict) and given[s]])
    key = chances.choice(list(given[section]))
    choices = (
        None,
        -1,
        0,
        10**30,
        1e308,
        "inf",
        [],
        {},
        [[]],
        "",
        "x" * 5000,
        True,
        {"start": 0, "stop": 1e308},
    )
    given[section][key] = chances.choice(choices)
    file.setncattr("settings", json.dumps(given))
    return f"settings: {section}.{key} = {str(given[section][key])[:30]}"


def stranger(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Name code: of a module of Python's, or of one that lies beside the file."""
    given = json.loads(file.getncattr("settings"))
    how = chances.randrange(4)
    if how == 0:
        given["system"] = {"name": "stranger:Stranger"}
    elif how == 1:
        given["system"] = {
            "name": "network",
            "module": "os:system",
            "arguments": {"command": f"touch {MARK}"},
        }
        given.setdefault("data", {"name": "synthetic", "train": 32, "test": 32})
    elif how == 2:
        given["system"] = {"name": "network", "module": "stranger:Stranger"}
        given.setdefault("data", {"name": "synthetic", "train": 32, "test": 32})
    else:
        given["data"] = {"name": "stranger:Stranger"}
    file.setncattr("settings", json.dumps(given))
    file.setncattr("system", given["system"]["name"])
    return f"code of {given['system']}"


def status(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Claim another end of the run."""
    said = chances.choice(
        ("unfinished: t = 3", "diverged: at t = nan", "unfinished", "", "done", "failed: x")
    )
    file.setncattr("status", said)
    return f"status {said!r}"


def sweep(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Claim to be a sweep over something."""
    said = chances.choice(("replica", "time", "nothing", "replica time", "energy", ""))
    file.setncattr("sweep_dimensions", said)
    return f"sweep_dimensions {said!r}"


def name(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Take away a variable, by another name."""
    before = chances.choice(list(file.variables))
    file.renameVariable(before, "another")
    return f"no {before}"


def shape(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Put in the place of a variable one of other dimensions, of another type, or of a huge size."""
    before = chances.choice(list(file.variables))
    dims = file.variables[before].dimensions
    file.renameVariable(before, "another")
    how = chances.randrange(5)
    if how == 0:
        file.createVariable(before, "f8", ())
    elif how == 1:
        file.createVariable(before, "f8", dims[::-1])
    elif how == 2:
        file.createVariable(before, str, dims)
    elif how == 3:
        file.createVariable(before, "i2", dims)
    else:
        for other in ("vast", "wide"):
            file.createDimension(other, 10**7)
        file.createVariable(before, "f8", ("vast", "wide"), chunksizes=(100, 100), zlib=True)
    return f"{before}: {('a scalar', 'turned', 'text', 'integers', 'huge')[how]}"


def numbers(file: netCDF4.Dataset, chances: random.Random) -> str:
    """Fill a variable with something else."""
    variables = [v for v in file.variables.values() if v.dtype != str and v.ndim]
    variable = chances.choice(variables)
    value = chances.choice((0, -1, 1))
    if variable.dtype.kind == "f":
        value = chances.choice((np.nan, np.inf, -np.inf, 0.0, -1e308, 5e-324))
    variable[...] = value
    return f"{variable.name}: {value}"


WAYS: tuple[Altered, ...] = (attribute, settings, stranger, status, sweep, name, shape, numbers)


def alter(path: Path, chances: random.Random, way: Altered) -> str:
    """Alter a result file; return what was done."""
    with netCDF4.Dataset(path, "a") as file:
        file.set_auto_mask(False)
        return f"{way.__name__}: {way(file, chances)}"
