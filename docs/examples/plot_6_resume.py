"""
Going on after a stop
=====================

You stop a run in the middle and go on with it: the result has the same bits as if it had never stopped.
Ctrl-C, the signals of a queue, a limit of time and ``kill -9`` all leave a checkpoint; the last one at
most a minute old.

Here the limit is a fifth of a second. The run ends with an exception that says where it stands.
"""

import tempfile
from pathlib import Path

import langevin
from langevin.errors import Interrupted

folder = Path(tempfile.mkdtemp())
settings = {
    "title": "Oscillators",
    "system": {"name": "harmonic", "n": 1500},
    "dynamics": {"temperature": 1.0, "initial_temperature": 0.1, "dt": 0.002, "t_max": 20.0},
    "ensemble": {"replicas": 8, "seed": 1},
    "record": {"configurations": "never"},
}
try:
    langevin.run(settings, overrides={"output.path": str(folder / "stopped.nc")}, wall_time=0.2)
except Interrupted:
    print(sorted(file.name for file in folder.iterdir()))

# %%
# The checkpoint is a result that ends early: it can be opened and drawn. Resumed, it becomes the whole one.

resumed = langevin.resume(folder / "stopped.nc")
whole = langevin.run(settings)
print("the same bits:", resumed["energy"].equals(whole["energy"]))

# %%
# On the command line this is ``langevin run run.toml --wall-time 23h50m``, and then ``langevin resume
# result.nc``, or ``langevin run run.toml --resume`` for both.

figure = langevin.plot(resumed)
