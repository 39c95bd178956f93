"""Run files of networks whose batches several processes share, and how these processes are started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

HERE = Path(__file__).parent

RECORD = {
    "times": [0, 1, 7, 20],
    "waiting_times": [0, 7],
    "lags": [1, 13],
    "energy_examples": 37,
    "gradient_examples": 23,
}
#: Sums over a batch of tens of examples, in another order, are off by some 10⁻¹⁶ of their terms; steps of a
#: net with kinks, or near a maximum of its gradient, make up to a thousand times as much of it. Between what
#: subtracts nearly equal numbers, such as a standard error of few examples, a further factor of a thousand.
ROUNDING = 1e-10


def case(system: dict[str, Any], record: dict[str, Any] | None = None, **dynamics: Any) -> dict[str, Any]:
    """Return a run file in double precision, with batches that no number of processes divides."""
    return {
        "system": system,
        "data": dynamics.pop("data", {"name": "synthetic", "train": 60, "test": 25}),
        "dynamics": {
            "t_max": 20,
            "batch_size": 11,
            "precision": "double",
            "device": "cpu",
            "backend": "torch",
            **dynamics,
        },
        "ensemble": {"replicas": 1, "seed": 3},
        "record": {**RECORD, **(record or {})},
        "output": {"figure": False},
    }


def module(name: str, loss: str = "cross_entropy", **further: Any) -> dict[str, Any]:
    """Return the system of a module by its name."""
    return {"name": "network", "module": name, "loss": loss, **further}


def carried(folder: Path, cases: dict[str, Any], size: int) -> dict[str, Any]:
    """Let so many processes carry out cases, and return what they said."""
    (folder / "cases.json").write_text(json.dumps(cases))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    ran = subprocess.run(
        [*torchrun(size), str(HERE / "parallel_child.py"), str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads((folder / "said.json").read_text())
    return {**said, "stdout": ran.stdout, "stderr": ran.stderr}


def torchrun(size: int, *options: str) -> list[str]:
    """Return the command that starts so many processes; it finds a free port by itself."""
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*started, "--nproc-per-node", str(size), *options]


def apart(one: Path, other: Path) -> dict[str, float]:
    """Return by which part of their largest value the variables of two results differ.

    Residuals of eigenvalues are left out: where these are found, they are roundings alone.
    """
    with xr.open_dataset(one) as a, xr.open_dataset(other) as b:
        assert set(a.variables) == set(b.variables)
        found = {}
        for name, variable in a.data_vars.items():
            x, y = variable.to_numpy(), b[name].to_numpy()
            if x.dtype.kind == "f" and not str(name).endswith("residual"):
                np.testing.assert_array_equal(np.isnan(x), np.isnan(y), err_msg=str(name))
                largest = np.max(np.abs(x), initial=1e-300, where=~np.isnan(x))
                found[str(name)] = float(np.max(np.abs(x - y), initial=0, where=~np.isnan(x)) / largest)
        return found


def same_bits(one: Path, other: Path) -> None:
    """Make sure that two results hold the same numbers."""
    with xr.open_dataset(one) as a, xr.open_dataset(other) as b:
        xr.testing.assert_identical(a.drop_attrs(), b.drop_attrs())
