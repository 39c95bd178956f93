"""Files from a stranger: results, checkpoints and sweeps whose settings name code, and that code."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from langevin.files import manifest, storage
from langevin.files.paths import Paths

_NUMBERS = itertools.count()

#: A module that leaves a trace when it is imported, and holds one object for every key that names code.
MODULE = """
import math
import pathlib

pathlib.Path({trace!r}).touch()
from torch import nn
from langevin.systems.harmonic import Harmonic
from langevin.systems.networks.data.synthetic import Synthetic


class System(Harmonic):
    '''The stranger's system.'''


class Data(Synthetic):
    '''The stranger's data.'''


class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))

    def forward(self, x):
        return self.layers(x)


def net(shape, classes):
    return Net(shape, classes)


def loss(outputs, labels, reduction):
    return nn.functional.cross_entropy(outputs, labels, reduction=reduction)


def tracker(run):
    return lambda step, scalars: None
"""

#: A module that needs no torch.
SYSTEM = """
from langevin.systems.harmonic import Harmonic


class System(Harmonic):
    pass
"""

NETWORK: dict[str, Any] = {
    "system": {"name": "network", "module": "torch.nn:Linear"},
    "data": {"name": "synthetic", "train": 32, "test": 16},
    "dynamics": {"t_max": 4, "batch_size": 8, "device": "cpu", "backend": "torch"},
    "ensemble": {"replicas": 3},
    "record": {"energy_examples": 16, "gradient_examples": 20, "snapshots": [4.0], "lags": [1.0]},
    "output": {"figure": False},
}


def name() -> str:
    """Return the name of a module that no test before has imported."""
    return f"strange_{next(_NUMBERS)}"


def settings(named: dict[str, Any]) -> dict[str, Any]:
    """Return settings with "section.key" replaced."""
    given = {section: dict(table) for section, table in NETWORK.items()}
    if "system.name" in named:
        given = {
            "system": {"n": 3},
            "dynamics": {"temperature": 1.0, "dt": 0.1, "t_max": 1.0},
            "output": {"figure": False},
        }
    for dotted, value in named.items():
        section, key = dotted.split(".")
        given[section][key] = value
    return given


def result(path: Path, given: dict[str, Any], **attributes: Any) -> xr.Dataset:
    """Write what looks like the result of a run of these settings; return the dataset."""
    replicas, dof = 3, 7850
    rng = np.random.default_rng(1)
    found = xr.Dataset(
        {
            "energy": (("replica", "time"), np.full((replicas, 2), np.nan)),
            "msd": (("replica", "waiting_time", "lag"), np.ones((replicas, 1, 2))),
            "snapshot": (("snapshot_time", "replica", "dof"), rng.random((1, replicas, dof))),
        },
        {
            "time": [0.0, 4.0],
            "waiting_time": [0.0],
            "lag": [1.0, 4.0],
            "snapshot_time": [4.0],
            "replica": np.arange(replicas),
            "sample": ("replica", np.zeros(replicas, int)),
        },
        {
            "settings": json.dumps(given),
            "title": "strange",
            "status": "complete",
            "history": "",
            **attributes,
        },
    )
    found.to_netcdf(path)
    return found


def checkpoint(folder: Path, given: dict[str, Any], **attributes: Any) -> Path:
    """Write what looks like an unfinished run; return the result that it was to write."""
    path = folder / "unfinished.nc"
    dataset = result(folder / "inside.nc", given)
    notes = {"settings": given, "folder": str(folder), "attributes": {"history": "", **attributes}}
    storage.write_checkpoint(Paths(path).checkpoint, dataset, {}, notes)
    return path


def sweep(folder: Path, given: dict[str, Any]) -> Path:
    """Write what looks like an unfinished sweep; return the result that it was to write."""
    paths = Paths(folder / "sweep.nc")
    paths.sweep.mkdir()
    notes = {
        "format": manifest.FORMAT,
        "settings": given | {"sweep": {"ensemble.seed": [1, 2]}},
        "text": "",
        "folder": str(folder),
        "working": str(folder),
        "history": "",
        "wall_time": 0.0,
    }
    manifest.write(paths.manifest, notes)
    return paths.result


def curve(path: Path, given: dict[str, Any], start: Path) -> None:
    """Write what looks like a curve between configurations of a result."""
    made = {**settings({}), "system": {"name": "network_curve", "start": str(start)}}
    made["dynamics"] = {"t_max": 4, "batch_size": 8, "device": "cpu"}
    made["record"] = {}
    made.pop("data")
    made["ensemble"] = {"replicas": 1}
    result(path, made)
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("control_point", 3)
        file.createDimension("component", 7850)
        control = file.createVariable("control", "f8", ("replica", "control_point", "component"))
        control[...] = 1.0
