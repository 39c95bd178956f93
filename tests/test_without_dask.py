"""xarray waits for Dask until something of it is loaded, and knows its arrays from then on."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
from langevin.files import netcdf
import xarray as xr

def loaded():
    return sorted({"dask.array", "dask.base"} & set(sys.modules))

made = xr.Dataset({"x": ("t", np.arange(4.0))}, {"t": np.arange(4)})
made.mean().load()
made.sel(t=slice(1, 2)).to_dict()
assert loaded() == [], loaded()
import dask.array as da
masked = da.ma.masked_greater(da.arange(4.0, chunks=2), 1.5)
# The branch of xarray that asks for the type.
held = xr.Variable("t", masked)
np.testing.assert_array_equal(held.values, [0.0, 1.0, np.nan, np.nan])
chunked = made.chunk(t=2)
assert isinstance(chunked["x"].data, da.Array)
assert dict(chunked.chunks) == {"t": (2, 2)}
assert float(chunked["x"].sum().compute()) == 6.0
from xarray.namedarray import pycompat
assert pycompat.array_type("dask") == (da.Array,)
assert pycompat.is_chunked_array(chunked["x"].data)
"""
#: Dask before us, and xarray's answer from then on; who asks for its version first.
ORDERS = (
    PROGRAM,
    "import dask.array\n" + PROGRAM.replace("assert loaded() == [], loaded()", ""),
    "from langevin.files import netcdf\nfrom xarray.namedarray import pycompat\n"
    "assert str(pycompat.mod_version('dask')) > '2'\n"
    + PROGRAM.replace("assert loaded() == [], loaded()", ""),
)


def test_dask_is_loaded_when_it_is_wanted() -> None:
    for program in ORDERS:
        made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
