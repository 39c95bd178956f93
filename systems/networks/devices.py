"""Where a network lives, on how many threads of torch, and what to say when there is no room."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from langevin.errors import LangevinError, UserError
from langevin.machine import cards, notices, processor
from langevin.machine.world import World

#: Environment variable: what "auto" means, such as "cpu" where the GPU is somebody else's.
VARIABLE = "LANGEVIN_DEVICE"


class _Forked(threading.local):
    """Whether a thread came into its process by a fork.

    Threads of GNU OpenMP do not survive a fork, and the thread that forked would wait for them for ever: it
    has one thread of torch from then on. Threads that begin after the fork may have more.
    """

    it = False

    def note(self) -> None:
        self.it = True
        torch.set_num_threads(1)


_forked = _Forked()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked.note)


def set_threads(threads: int) -> None:
    """Let torch use so many processors in this thread; one where more would wait for ever."""
    torch.set_num_threads(1 if _forked.it else threads)


def name_of(device: torch.device) -> str:
    """Return the name of a GPU; of anything else, that of the processor."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else processor.device()


def prepare(name: str, deterministic: bool) -> torch.device:
    """Return the device that `dynamics.device` names.

    Parameters
    ----------
    name : str
        "auto" (what `VARIABLE` says, else the GPU where there is one), "cpu", "cuda" or "cuda:1". Of several
        GPUs, processes that work side by side take one each for "auto" and "cuda".
    deterministic : bool
        Whether a GPU is to give the same bits again (`Arithmetic.work` chooses its algorithms).

    Raises
    ------
    UserError
        If there is no such device.
    """
    key = f"dynamics.device = {name!r}"
    meant = os.environ.get(VARIABLE, "")
    if name == "auto" and meant not in ("", "auto"):
        name, key = meant, f"{key} ({VARIABLE}={meant})"
    elif name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f'{key}: allowed: "auto", "cpu", "cuda", "cuda:1", …')
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UserError(f'{key}: this machine has {count} GPUs; allowed: "auto", "cpu"')
        if torch.cuda._is_in_bad_fork():
            raise UserError(
                f'{key}: allowed: "cpu" in a process that was forked from one that used '
                'the GPU (multiprocessing: start the processes by "spawn")'
            )
        device = _taken(device, count)
        if deterministic:
            # cuBLAS reads it when it starts.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return device


def _taken(device: torch.device, count: int) -> torch.device:
    """Return the GPU that a process of several takes; one that works alone leaves torch's choice as it is."""
    own = cards.mine(count)
    if own is None:
        return device
    taken = torch.device("cuda", own if device.index is None else device.index)
    # Nothing of this process is to lie on another one.
    torch.cuda.set_device(taken)
    return taken


def meet(world: World, device: torch.device) -> None:
    """Let processes that share batches send each other what lies on their devices.

    Raises
    ------
    UserError
        If their devices are not of one kind.
    """
    own = device.type
    if device.type == "cuda":
        # Of which each process may see others, or all.
        own = f"cuda, {torch.cuda.get_device_properties(device).uuid}"
    every = world.gathered(own)
    kinds = sorted({one.partition(",")[0] for one in every})
    if len(kinds) > 1:
        raise UserError(
            f'dynamics.device: the processes have {" and ".join(kinds)}; allowed: "cpu", or a GPU for each'
        )
    if device.type != "cuda":
        return
    if len(set(every)) == world.size:
        world.use_cards()
    else:
        words = f"{world.size} processes share {len(set(every))} GPUs"
        notices.once("gradients", f"{words}: gradients travel by the processor's memory")


def cards_of(device: torch.device, name: str) -> list[torch.device]:
    """Return the devices that the replicas of a run may be spread over, the one that it began on first.

    Parameters
    ----------
    device : torch.device
        As `prepare` returned it.
    name : str
        What the run file says: with "auto" and "cuda" all GPUs, unless processes side by side share them.
    """
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    meant = os.environ.get(VARIABLE) or name if name == "auto" else name
    if meant not in ("auto", "cuda") or count < 2 or cards.mine(count) is not None:
        return [device]
    home = torch.cuda.current_device()
    return [torch.device("cuda", (home + k) % count) for k in range(count)]


@contextmanager
def explained() -> Iterator[None]:
    """Turn "out of memory" into one line that says what to reduce."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).splitlines()[0]
        raise LangevinError(
            f"the GPU is out of memory ({said}): reduce ensemble.replicas, dynamics.batch_size, the number "
            "of record.waiting_times, or the size of the network"
        ) from None
