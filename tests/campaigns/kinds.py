"""The kinds of run that the campaigns disturb: small run files, of some forty steps each.

They store what a run may keep beside its checkpoint: configurations, a sketch, snapshots, references.
Checkpoints are written after every stretch; under `child.Conditions` a stretch is one step. So a run is over
in a second or two, and has some hundred moments at which it may die, the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Every kind writes this file.
RESULT = "result.nc"


@dataclass(frozen=True)
class Kind:
    """A run file, and what has to lie beside it.

    Attributes
    ----------
    text : str
        The run file, without [output].
    first : str, optional
        Kind that this one begins from: its result lies there as ``first.nc``.
    beside : dict
        Name of a further file → what is in it.
    threads : int
    stretch : float
        Wall time, in seconds, between two checkpoints. The default makes a stretch one step long; that is
        too short where thousands of steps come before the run begins.
    """

    text: str
    first: str = ""
    beside: tuple[tuple[str, str], ...] = ()
    threads: int = 1
    stretch: float = 1e-9

    @property
    def run_file(self) -> str:
        """The whole run file."""
        return f'{self.text}\n[output]\npath = "{RESULT}"\nfigure = false\ncheckpoint_interval = 0.0\n'


_NORMALISED = '''"""A small net with batch-norm: running means are part of the state alone."""

from torch import nn


class Normalised(nn.Module):
    """Two layers."""

    def __init__(self, shape, classes):
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        layers = nn.Linear(size, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, classes)
        self.layers = nn.Sequential(nn.Flatten(), *layers)

    def forward(self, x):
        """Return the outputs."""
        return self.layers(x)
'''

_PSPIN = """
title = "p-spin"
[system]
name = "pspin"
p = 3
n = 24
[dynamics]
temperature = 0.5
dt = 0.02
t_max = 0.8
[ensemble]
replicas = 4
samples = 2
seed = 5
[record]
times = { start = 0.02, per_decade = 4 }
waiting_times = [0.0, 0.02, 0.2, 0.5]
lags = { start = 0.02, per_decade = 4 }
snapshots = [0.1, 0.5, 0.8]
sketch = 8
response = true
"""

_HARMONIC = """
title = "Ornstein-Uhlenbeck"
[system]
name = "harmonic"
n = 100
[dynamics]
temperature = 1.0
initial_temperature = 0.1
dt = 0.005
scheme = "leimkuhler_matthews"
t_max = 0.2
[ensemble]
replicas = 4
seed = 2
[record]
times = { start = 0.01, per_decade = 4 }
waiting_times = [0.0, 0.01, 0.05, 0.15]
lags = { start = 0.005, per_decade = 4 }
snapshots = [0.05, 0.2]
sketch = 8
response = true
"""

_START = """
title = "p-spin, begun from a snapshot"
[system]
name = "pspin"
p = 3
n = 24
[start]
file = "first.nc"
time = 0.5
[dynamics]
temperature = 0.2
dt = 0.02
t_max = 0.6
[ensemble]
replicas = 4
samples = 2
seed = 5
[record]
times = { start = 0.02, per_decade = 4 }
waiting_times = [0.0, 0.1, 0.4]
lags = { start = 0.02, per_decade = 4 }
sketch = 8
"""

_CURVE = """
title = "Curves between p-spin configurations"
[system]
name = "curve"
start = "first.nc"
curve = "chain"
bends = 2
[dynamics]
temperature = 0.0
dt = 0.05
t_max = 1.0
[ensemble]
replicas = 2
samples = 2
seed = 3
[record]
times = { start = 0.05, per_decade = 4 }
waiting_times = [0.0, 0.5]
lags = { start = 0.05, per_decade = 4 }
snapshots = [0.5, 1.0]
positions = 5
"""

_TINY = """
title = "Tiny nets"
[system]
name = "mlp"
widths = [4, 4]
activation = "tanh"
[data]
name = "synthetic"
like = "mnist"
train = 64
test = 32
[dynamics]
learning_rate = 0.05
batch_size = 8
batches = "persistent"
persistence = 20
temperature = 1e-5
t_max = 40
[ensemble]
replicas = 4
seed = 4
[record]
times = { start = 1, per_decade = 3 }
waiting_times = [0, 5, 20]
lags = { start = 1, per_decade = 3 }
snapshots = [10, 40]
sketch = 8
energy_examples = 32
gradient_examples = 20
"""

_NORMS = """
title = "A net with batch-norm"
[system]
name = "network"
module = "normalised:Normalised"
[data]
name = "synthetic"
like = "mnist"
train = 64
test = 32
[dynamics]
learning_rate = 0.05
batch_size = 8
momentum = 0.9
t_max = 40
[ensemble]
replicas = 2
seed = 4
[record]
times = { start = 1, per_decade = 3 }
waiting_times = [0, 10]
lags = { start = 1, per_decade = 3 }
snapshots = [10, 40]
energy_examples = 32
gradient_examples = 20
"""

_CK = """
title = "Cugliandolo-Kurchan"
[system]
name = "cugliandolo_kurchan"
p = 3
[dynamics]
temperature = 0.5
t_max = 5.0
tolerance = 1e-3
[record]
times = { start = 0.01, per_decade = 4 }
waiting_times = { start = 0.2, stop = 2.0, per_decade = 4 }
lags = { start = 0.01, per_decade = 4 }
"""

_KOB_ANDERSEN = """
title = "Kob-Andersen, begun in equilibrium"
[system]
name = "kob_andersen"
n = 150
equilibration_time = 0.05
[dynamics]
temperature = 0.6
initial_temperature = 1.0
dt = 1e-4
t_max = 0.004
[ensemble]
replicas = 2
seed = 6
[record]
times = { start = 0.0001, per_decade = 4 }
waiting_times = [0.0, 0.0005, 0.002]
lags = { start = 0.0001, per_decade = 4 }
snapshots = [0.001, 0.004]
"""

_NETWORK_ENDS = """
title = "Ends of a curve of networks"
[system]
name = "fully_connected"
hidden = 3
[data]
name = "synthetic"
like = "mnist"
train = 32
test = 32
[dynamics]
batch_size = 8
t_max = 10
[ensemble]
replicas = 4
seed = 7
[record]
times = []
waiting_times = []
lags = []
snapshots = [10]
"""

_NETWORK_CURVE = """
title = "A curve between networks"
[system]
name = "network_curve"
start = "first.nc"
bends = 1
[dynamics]
learning_rate = 0.01
batch_size = 8
momentum = 0.9
t_max = 30
[ensemble]
replicas = 2
seed = 7
[record]
times = { start = 1, per_decade = 3 }
waiting_times = [0, 10]
lags = { start = 1, per_decade = 3 }
positions = 4
energy_examples = 32
gradient_examples = 20
"""

_SWEEP = """
title = "A sweep"
[system]
name = "harmonic"
n = 200
[dynamics]
dt = 0.005
t_max = 0.1
[ensemble]
replicas = 2
seed = 8
[record]
times = { start = 0.01, per_decade = 4 }
waiting_times = [0.0, 0.05]
lags = { start = 0.01, per_decade = 4 }
[sweep]
"dynamics.temperature" = [0.5, 1.0, 2.0]
"""

KINDS: dict[str, Kind] = {
    "pspin": Kind(_PSPIN),
    "harmonic": Kind(_HARMONIC),
    "start": Kind(_START, first="pspin"),
    "curve": Kind(_CURVE, first="pspin"),
    "tiny": Kind(_TINY),
    "norms": Kind(_NORMS, beside=(("normalised.py", _NORMALISED),)),
    "ck": Kind(_CK),
    "kob_andersen": Kind(_KOB_ANDERSEN, stretch=0.02),
    "network_ends": Kind(_NETWORK_ENDS),
    "network_curve": Kind(_NETWORK_CURVE, first="network_ends"),
    "sweep": Kind(_SWEEP, threads=2),
}

#: Those that campaigns go over; the others only make what these begin from.
RUNS = tuple(name for name in KINDS if name != "network_ends")

#: Those of single runs.
SINGLE = tuple(name for name in RUNS if name != "sweep")
