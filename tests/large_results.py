"""Results that are large, written quickly, and what a process needs to analyse them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from langevin.files import netcdf

REPLICAS = 4
WAITING, LAGS = [0.0, 1.0, 10.0], [1.0, 2.0, 5.0, 20.0]
#: Particles in a box: as many as configurations have room for.
BOX = 40.0


def write(path: Path, times: int, dof: int) -> None:
    """Write a result with configurations (times, REPLICAS, dof) of particles, laid out as by a run."""
    rng = np.random.default_rng(0)
    with netCDF4.Dataset(path, "w") as file:
        sizes = {"configuration_time": times, "time": times, "replica": REPLICAS, "dof": dof}
        sizes |= {"waiting_time": 3, "lag": 4, "sketch_component": 16}
        for dim, size in sizes.items():
            file.createDimension(dim, size)
        pair = ("replica", "waiting_time", "lag")
        values: dict[str, tuple[tuple[str, ...], Any]] = {
            "configuration_time": (("configuration_time",), np.arange(float(times))),
            "time": (("time",), np.arange(float(times))),
            "waiting_time": (("waiting_time",), WAITING),
            "lag": (("lag",), LAGS),
            "energy": (("replica", "time"), rng.standard_normal((REPLICAS, times))),
            "msd": (pair, 1 + rng.random((REPLICAS, 3, 4))),
            "sketch": (
                ("configuration_time", "replica", "sketch_component"),
                rng.standard_normal((times, REPLICAS, 16)),
            ),
        }
        for name, (dims, data) in values.items():
            file.createVariable(name, "f8", dims, fill_value=np.nan)[:] = data
        for name, data in (("replica", [0, 1, 2, 3]), ("sample", [0, 0, 1, 1])):
            file.createVariable(name, "i8", ("replica",))[:] = data
        shape = (times, REPLICAS, dof)
        configuration = file.createVariable(
            "configuration",
            "f8",
            ("configuration_time", "replica", "dof"),
            fill_value=np.nan,
            fletcher32=True,
            chunksizes=netcdf.chunks(shape, 8, 1),
        )
        configuration.setncatts(
            {"box": BOX, "species_names": "A", "species_counts": [dof // 3], "wavenumbers": [1.0]}
        )
        for name in ("energy", "msd", "sketch", "configuration"):
            file[name].coordinates = "sample"
        file["sketch"].degrees_of_freedom = dof
        x, step = BOX * rng.random((REPLICAS, dof)), rng.standard_normal((REPLICAS, dof))
        for k in range(times):
            configuration[k] = x
            x = x + 0.1 * np.roll(step, k, axis=1)
        file.setncatts({"status": "complete", "title": "large", "settings": "{}"})


#: Analyses a result, and says numbers and by how many bytes memory has grown.
_ANALYSIS = """
import json, sys
import numpy as np
import xarray as xr
import dask
import langevin
from langevin.observables import overlaps, particles, pieces, sketch, statistics, two_time

path, chunks, held, block, waiting, lags, every = json.loads(sys.argv[1])
pieces.HELD, pieces.BLOCK = held, block
import langevin.files.netcdf as netcdf
netcdf.BLOCK = block

def grown():
    # Of this process alone: what getrusage says begins with that of the process that started it.
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) - start

start = 0
dask.config.set(scheduler="threads", num_workers=2)
ds = langevin.open(path, chunks=chunks)
x = ds["configuration"]
plain = x.drop_attrs()
mixture = particles.BoxedMixture.of(x)
edges = [0.25, 0.5, 0.75]
# What every function loads for the first time does not count.
few = x[:1, :1, :30].compute().drop_attrs()
two_time.msd(few.chunk(), [0.0], [0.0]).compute()
particles.pair_correlation(particles.BoxedMixture(2.0, ("A",), (10,)), few[0].values, edges)
start = grown()

said, grew = {}, {}
def put(name, value):
    said[name] = np.asarray(value).ravel()[:24].tolist()
    grew[name] = grown()

put("displacement", two_time.msd(plain, waiting, lags))
put("overlap", two_time.correlation(plain, waiting, lags))
put("msd", two_time.msd(x, waiting, lags))
put("self_overlap", particles.two_time(x, waiting, lags, "self_overlap"))
put("sketch", sketch.msd(ds, waiting, lags))
averaged = statistics.average(plain[::every])
put("mean", averaged.mean.mean("dof"))
put("error", averaged.error.mean("dof"))
put("pairs", overlaps.overlaps(plain[3]))
put("structure", particles.pair_correlation(mixture, x[:: 10 * every, :1], edges))
print(json.dumps({"grown": grown(), "peak": grown() + start, "grew": grew, **said}))
"""


def analysed(path: Path, chunks: Any, held: int, block: int, every: int = 1) -> dict[str, Any]:
    """Return what an analysis in a process of its own says: numbers, and bytes of memory.

    Parameters
    ----------
    chunks
        As of `langevin.open`.
    held, block : int
        `pieces.HELD` and `pieces.BLOCK`.
    every : int
        Statistics are of each so many times.
    """
    given = json.dumps([str(path), chunks, held, block, WAITING, LAGS, every])
    done = subprocess.run(
        [sys.executable, "-c", _ANALYSIS, given],
        capture_output=True,
        text=True,
        check=False,
        # Each thread of the library of linear algebra has room of its own.
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def directly(path: Path, every: int = 1) -> dict[str, Any]:
    """Return the same numbers from the definitions, reading single configurations."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        stored, sketches = file["configuration"], file["sketch"][:]
        dof = stored.shape[2]

        def pairs(function: Any) -> list[float]:
            rows = [[function(int(w), int(w + t)) for t in LAGS] for w in WAITING]
            return np.moveaxis(np.array(rows), -1, 0).ravel()[:24].tolist()

        def moved(a: int, b: int) -> np.ndarray:
            step = (stored[b] - stored[a]).reshape(REPLICAS, -1, 3)
            return ((step - step.mean(1, keepdims=True)) ** 2).sum(-1)

        times = range(0, stored.shape[0], every)
        frames = [stored[k].reshape(2, 2, dof).mean(1) for k in times[:24]]
        x = stored[3]
        return {
            "displacement": pairs(lambda a, b: ((stored[a] - stored[b]) ** 2).mean(1)),
            "overlap": pairs(lambda a, b: (stored[a] * stored[b]).mean(1)),
            "msd": pairs(lambda a, b: moved(a, b).mean(1)),
            "self_overlap": pairs(lambda a, b: (moved(a, b) < 0.3**2).mean(1)),
            "sketch": pairs(lambda a, b: ((sketches[a] - sketches[b]) ** 2).sum(1) / dof),
            "mean": [float(f.mean()) for f in frames],
            "error": [float((np.abs(f[0] - f[1]) / 2).mean()) for f in frames],
            "pairs": [float(x[0] @ x[1] / dof), float(x[2] @ x[3] / dof)],
        }
