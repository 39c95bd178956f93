"""Result files whose stored configurations are ends of curves, for the tests that go over all systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import langevin

#: Systems that need such a file → the system whose configurations are in it.
OF: dict[str, dict[str, Any]] = {
    "curve": {
        "system": {"name": "pspin", "p": 3, "n": 6},
        "dynamics": {"temperature": 0.0, "dt": 0.02, "t_max": 0.1},
    },
    "network_curve": {
        "system": {"name": "fully_connected", "hidden": 3},
        "data": {"name": "synthetic", "train": 32, "test": 32, "like": "mnist"},
        "dynamics": {"t_max": 4, "batch_size": 8},
    },
}


def make(name: str, path: Path, replicas: int, samples: int, seed: int = 7) -> Path:
    """Write the file, unless it is there, with twice as many configurations as curves are wanted."""
    if not path.exists():
        given = {
            **OF[name],
            "ensemble": {"replicas": 2 * replicas, "samples": samples, "seed": seed},
            "record": {
                "times": [],
                "waiting_times": [],
                "lags": [],
                "snapshots": [OF[name]["dynamics"]["t_max"]],
            },
            "output": {"path": str(path), "figure": False},
        }
        langevin.run(given).close()
    return path


def stand_by(name: str, folder: Path) -> None:
    """Put what the template of a system names into a folder."""
    if name in OF:
        make(name, folder / "a.nc", 16, 4)
