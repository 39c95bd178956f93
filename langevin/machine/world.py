"""Processes that torchrun has started together carry one run: who they are, and what they tell each other.

Each does the same, in the same order, on a state that is the same in all; what is large, such as a batch, is
split among them (`World.part`, `World.add`). The first one leads: it alone reads and writes the files of the
run, and what depends on a clock, or on a signal to one of them, is agreed upon (`Together`, `CommonPace`).
A process that fails says why, in a place that outlives it, and those that wait for it find it there.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langevin.errors import Diverged, Interrupted, LangevinError, Lost, one_line, shortened
from langevin.speech import command, option

from . import cards, interruption, processor
from .interruption import Interruption, Request
from .pace import Pace

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

#: What torchrun alone sets; and how many processes there are, which others set, too.
MARK, SIZE = "TORCHELASTIC_RUN_ID", "WORLD_SIZE"

#: How often it has started them anew.
ATTEMPT = "TORCHELASTIC_RESTART_COUNT"

#: How long a process waits for another that lives and says nothing, such as one that writes a checkpoint.
PATIENCE = timedelta(minutes=30)

#: Where the first process that fails says why; and the leading one, that it has come to its end.
_FAILED, _LEFT = "failed", "left"

#: Seconds that a process which fails alone gives the leading one to hear of it.
HEARD = 10.0


class World:
    """The processes of one run; this is one of them.

    Parameters
    ----------
    rank, size : int
        Number of this process, from 0 on, and how many there are.
    local_rank, local_size : int
        The same of those on this machine.
    """

    def __init__(self, rank: int, size: int, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        #: Whether the others have been told what to do.
        self.told = False
        self._cards: Any = None
        #: Bytes that this process has given to sums (`add`): what a benchmark asks for.
        self.added = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> World | None:
        """Return the world that torchrun says this process is part of; None if it works alone."""
        if MARK not in environment or int(environment.get(SIZE, "1")) < 2:
            return None
        names = ("RANK", SIZE, "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        missing = [n for n in (*names, "MASTER_ADDR", "MASTER_PORT") if n not in environment]
        if missing:
            raise LangevinError(f"torchrun has set {MARK}, but not {', '.join(missing)}")
        return cls(*(int(environment[name]) for name in names))

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes the files of the run."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """This process's share of the processors of its machine."""
        return max(1, processor.available() // self.local_size)

    # Beginning and end.

    def begin(self) -> None:
        """Meet the others."""
        import torch.distributed as dist
        from torch.distributed import distributed_c10d as c10d
        from torch.distributed.rendezvous import rendezvous

        meeting: Callable[..., Any] = rendezvous
        with self._alive():
            store, _, _ = next(meeting("env://", self.rank, self.size, timeout=PATIENCE))
            # After a restart torchrun's store may hold what those before have left.
            own = c10d.PrefixStore(f"langevin/{os.environ.get(ATTEMPT, '0')}", store)
            dist.init_process_group("gloo", store=own, rank=self.rank, world_size=self.size, timeout=PATIENCE)

    def end(self) -> None:
        """Leave the others."""
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()

    def use_cards(self) -> None:
        """From now on what lies on GPUs goes from one to another directly; each process has its own."""
        import torch.distributed as dist

        if self._cards is None:
            with self._alive():
                self._cards = dist.new_group(backend="nccl", timeout=PATIENCE)

    # What is told.

    def said(self, value: Value | None = None) -> Any:
        """Return what the leading process says, in all of them."""
        import torch.distributed as dist

        held = [value]
        with self._alive():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def order(self, word: Any) -> None:
        """Tell the others what to do; the leading process alone does."""
        self.told = True
        self.said(word)

    def shared(self, task: Callable[[], Value]) -> Value:
        """Return what a task returns that the leading process alone carries out."""
        shared: Value = self.said(task() if self.leads else None)
        return shared

    def gathered(self, value: Value) -> list[Value]:
        """Return what each process says, by their numbers."""
        import torch.distributed as dist

        held: list[Any] = [None] * self.size
        with self._alive():
            dist.all_gather_object(held, value)
        return held

    # What is computed together.

    def part(self, count: int, rank: int | None = None) -> slice:
        """Return which of so many things are this process's, or another's: parts differ by one at most."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def add(self, tensor: Tensor) -> Tensor:
        """Make a tensor the sum of all processes' tensors, in place, to the same bits in each; return it."""
        import torch.distributed as dist

        self.added += tensor.numel() * tensor.element_size()
        with self._alive():
            if tensor.is_cuda and self._cards is None:
                here = tensor.cpu()
                dist.all_reduce(here)
                tensor.copy_(here)
            else:
                dist.all_reduce(tensor, group=self._cards if tensor.is_cuda else None)
        return tensor

    def rows(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, of one shape, stacked by their numbers."""
        import torch
        import torch.distributed as dist

        direct = tensor.is_cuda and self._cards is not None
        own = (tensor if direct else tensor.cpu()).contiguous()
        held = [torch.empty_like(own) for _ in range(self.size)]
        with self._alive():
            dist.all_gather(held, own, group=self._cards if direct else None)
        return torch.stack(held).to(tensor.device)

    def joined(self, tensor: Tensor, count: int) -> list[Tensor]:
        """Return the parts of all processes of so many rows, of which `tensor` is this one's (`part`)."""
        most = -(-count // self.size)
        filled = tensor.new_zeros((most, *tensor.shape[1:]))
        filled[: len(tensor)] = tensor
        parts = [self.part(count, rank) for rank in range(self.size)]
        return [row[: p.stop - p.start] for row, p in zip(self.rows(filled), parts, strict=True)]

    def require_same(self, tensor: Tensor, what: str) -> None:
        """Make sure that a tensor holds the same bits in all processes.

        Raises
        ------
        LangevinError
            If it does not: from then on they would compute different things.
        """
        import torch

        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
        sums = self.gathered(int(tensor.detach().contiguous().view(whole).sum(dtype=torch.int64)))
        if len(set(sums)) > 1:
            raise LangevinError(
                f"{what} are no longer the same in all {self.size} processes; needed: processors, or GPUs, "
                "and libraries of one kind"
            )

    # Failures.

    def tell(self, error: BaseException) -> None:
        """Say in a place that outlives this process why it fails; the first that fails is heard."""
        from torch.distributed.distributed_c10d import _get_default_store

        known = isinstance(error, LangevinError | KeyboardInterrupt)
        text = one_line(str(error)) if known else f"unexpected {type(error).__name__}: {one_line(str(error))}"
        said = {"rank": self.rank, "text": text, "code": getattr(error, "exit_code", 1)}
        # Who cannot be told has gone.
        with suppress(RuntimeError, ValueError):
            _get_default_store().compare_set(_FAILED, "", json.dumps(said))

    def leave(self, agreed: bool) -> None:
        """Leave the others, where this process has failed: the leading one last.

        torchrun ends all others when the first one has left, by force half a minute later: the leading one
        may have a checkpoint to write.

        Parameters
        ----------
        agreed : bool
            Whether all have stopped for the same reason, and know it.
        """
        from torch.distributed.distributed_c10d import _get_default_store

        with suppress(RuntimeError, ValueError):
            store = _get_default_store()
            if self.leads:
                store.set(_LEFT, "1")
            # Whoever waits for this process hears of it by this.
            self.end()
            until = time.monotonic() + (PATIENCE.total_seconds() if agreed else HEARD)
            while not self.leads and time.monotonic() < until and not store.check([_LEFT]):
                time.sleep(0.1)

    def explained(self, lost: Lost) -> Lost:
        """Return the error that a process was lost, with what it said before, if it has said anything."""
        from torch.distributed.distributed_c10d import _get_default_store

        with suppress(RuntimeError, ValueError):
            store = _get_default_store()
            if store.check([_FAILED]):
                said = json.loads(store.get(_FAILED))
                return Lost(f"process {said['rank']}: {said['text']}", said["code"])
        return lost

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """Turn the failure of what is told or computed together into the loss of a process."""
        try:
            yield
        except RuntimeError as error:
            # Without the place in torch's source, and without its advice.
            said = re.sub(r"^\[\S+\] ", "", one_line(str(error))).split(". ")[0]
            raise Lost(
                f"one of the {self.size} processes was lost ({shortened(said)}); the run goes on from its "
                f"last checkpoint with {command('resume')}, or with {option('resume')}"
            ) from None


_current: World | None = None


def current() -> World | None:
    """Return the world that this process works in; None: it works alone."""
    return _current


def following() -> bool:
    """Return whether another process leads this one."""
    return _current is not None and not _current.leads


@contextmanager
def joined(environment: Mapping[str, str] | None = None) -> Iterator[World | None]:
    """Work in the block together with the processes that torchrun has started with this one, if it has.

    All but the leading one are silent from then on.
    """
    global _current
    world = World.of(os.environ if environment is None else environment)
    if world is None or _current is not None:
        yield _current
        return
    if not world.leads:
        # For good: what is said after the block is the leading process's word, too.
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    world.begin()
    _current = world
    cards.share(world.local_rank)
    try:
        yield world
        if world.leads and not world.told:
            world.order(None)
    except Lost as lost:
        error = world.explained(lost)
        world.leave(agreed=False)
        raise error from None
    except BaseException as error:
        world.tell(error)
        world.leave(agreed=isinstance(error, Interrupted | Diverged))
        raise
    finally:
        _current = None
        with suppress(RuntimeError):
            world.end()


class Together(Interruption):
    """Whether all processes are asked to stop: known in all at once, where they agree upon it.

    Signals are noted alone, also a second one: torchrun passes on every one it gets, and ends by force, after
    half a minute, what does not end by itself.
    """

    patient = True

    def __init__(self, world: World, wall_time: float | str | None = None) -> None:
        super().__init__(wall_time)
        self._world = world
        self._agreed: Request | None = None

    @property
    def asked(self) -> Request | None:
        """Who has asked, as agreed."""
        return self._agreed

    def agree(self) -> None:
        """Find out whether somebody has asked one of the processes; all of them do so at the same point."""
        heard = self._world.gathered(self._heard())
        self._agreed = self._agreed or next((request for request in heard if request is not None), None)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, nothing is heard either: who left alone would be waited for."""
        yield

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Set no alarm: the clock is looked at where all agree."""
        yield


def listening(wall_time: float | str | None = None) -> AbstractContextManager[Interruption]:
    """Listen to signals, and to the clock, as `interruption.listening`; in a world, together."""
    kind = Interruption if _current is None else partial(Together, _current)
    return interruption.listening(wall_time, kind)


class CommonPace(Pace):
    """A pace that is the leading process's in all of them."""

    def __init__(self, world: World, time_step: float | None) -> None:
        super().__init__(time_step)
        self._world = world

    def chosen(self, steps: int) -> int:
        """Return the steps of the next stretch."""
        return int(self._world.said(steps))
