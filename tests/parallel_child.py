"""One of several processes that share the batches of one network: carries out what a folder asks for.

    torchrun --standalone --nproc-per-node 2 tests/parallel_child.py FOLDER

FOLDER/cases.json holds run files by name. A case ends in FOLDER/NAME.nc, or in a line of FOLDER/said.json.
One whose name begins with "stopped" is stopped on the way, by a signal to the last process, copied as it
stands to FOLDER/apart, and resumed; "resumed" goes on from a checkpoint that is there. In the end the command
itself carries out FOLDER/command.toml.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from langevin.commands.cli import main as command
from langevin.config import run_files
from langevin.errors import Interrupted, UserError
from langevin.machine import world
from langevin.running import execution, together
from langevin.systems.networks.nets.joint_norms import joint, norms_of


def carried(processes: world.World, given: dict[str, Any], path: Path, stop: bool = False) -> None:
    """Carry out a run from its start; to `stop` it, the last process hears a signal."""
    settings = run_files.load(given)
    if stop and processes.rank == processes.size - 1:
        # Noted from the first moment on, and agreed upon after the first stretch.
        original = world.Together.agree

        def heard(self: world.Together) -> None:
            world.Together.agree = original  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGTERM)
            original(self)

        world.Together.agree = heard  # type: ignore[method-assign]
    if processes.leads:
        execution.execute(settings, path, carrier=together.Leader(processes))
    else:
        together.follow(settings)


def resumed(processes: world.World, path: Path) -> None:
    """Go on with a run."""
    if processes.leads:
        execution.execute_resume(path, carrier=together.Leader(processes))
    else:
        together.follow()


def normalised(processes: world.World) -> list[float]:
    """Return by how much batch-norm over parts differs from that of the whole: outputs, slopes, buffers."""
    largest = []
    for shape, options in (
        ((7, 3, 4, 5), {}),
        ((11, 4), {"affine": False}),
        ((5, 2, 6), {"momentum": None}),
        ((2, 3, 1, 2, 2), {"track_running_stats": False}),
    ):
        torch.manual_seed(3)
        kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)]
        norms = [kind(shape[1], **options).double() for _ in range(2)]
        with torch.no_grad():
            for norm in norms:
                for k, parameter in enumerate(norm.parameters()):
                    parameter.copy_(torch.arange(1.0, 1.0 + shape[1]) - k)
        # Far from zero: sums of squares would cancel.
        x, weights = torch.randn(2, *shape, dtype=torch.float64).unbind()
        x = 100 + x
        own = processes.part(shape[0])
        whole, part = x.clone().requires_grad_(), x[own].clone().requires_grad_()
        for _ in range(2):
            expected = norms[0](whole)
            with joint(norms_of(norms[1]), processes):
                outputs = norms[1](part)
        (expected.sin() * weights).sum().backward()
        (outputs.sin() * weights[own]).sum().backward()
        pairs = [(expected[own].detach(), outputs.detach()), (whole.grad[own], part.grad)]
        for a, b in zip(norms[0].parameters(), norms[1].parameters(), strict=True):
            pairs.append((a.grad, processes.add(b.grad)))
        pairs += zip(norms[0].buffers(), norms[1].buffers(), strict=True)
        # Of few examples some processes have none.
        largest += [float((a - b).abs().max() / a.abs().max()) for a, b in pairs if a.numel()]
    return largest


def main(folder: Path) -> None:
    """Carry out all cases, in the same order in all processes."""
    said: dict[str, Any] = {}
    cases = json.loads((folder / "cases.json").read_text())
    with world.joined() as processes:
        assert processes is not None
        said["norms"] = max(max(each) for each in processes.gathered(normalised(processes)))
        for name, given in cases.items():
            path = folder / f"{name}.nc"
            try:
                if name.startswith("resumed"):
                    resumed(processes, path)
                    continue
                carried(processes, given, path, name.startswith("stopped"))
            except UserError as error:
                said[name] = str(error)
            except Interrupted as error:
                said[name] = processes.gathered([str(error).split(" at ")[0], error.exit_code])
                if processes.leads:
                    (folder / "apart").mkdir()
                    for file in folder.glob(f"{name}.*"):
                        shutil.copy(file, folder / "apart")
                resumed(processes, path)
        if (run_file := folder / "command.toml").exists():
            command(
                ["run", str(run_file), "--set", f"output.path={str(folder / 'command.nc')!r}"],
                standalone_mode=False,
            )
        if processes.leads:
            (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
