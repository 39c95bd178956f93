"""What torch has once for a process: how products are rounded, and whether the same bits come again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Setting = TypeVar("Setting")


class _Switches:
    """Sets them for all threads that want the same, one kind after the other."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._inside: list[int] = []
        self._now: tuple[bool, bool] | None = None
        self._before: _State | None = None

    @contextmanager
    def set(self, wanted: tuple[bool, bool]) -> Iterator[None]:
        """Have them so in the block."""
        with self._free:
            if self._now != wanted and threading.get_ident() in self._inside:
                raise RuntimeError(
                    f"a block of (TF32, deterministic) = {self._now} cannot hold one of {wanted}"
                )
            self._free.wait_for(lambda: self._now in (None, wanted))
            if self._now is None:
                self._now, self._before = wanted, _read()
                _write(*wanted)
            self._inside.append(threading.get_ident())
        try:
            yield
        finally:
            with self._free:
                self._inside.remove(threading.get_ident())
                if not self._inside and self._before is not None:
                    _restore(self._before)
                    self._now = None
                    self._free.notify_all()


_switches = _Switches()


def chosen(tf32: bool, deterministic: bool = False) -> AbstractContextManager[None]:
    """Let a GPU compute so in the block; afterwards it is as the user had it.

    Others who want something else meanwhile, in other threads, wait.

    Parameters
    ----------
    tf32 : bool
        Whether factors of products in single precision are rounded to 11 bits (TF32), in convolutions, too.
    deterministic : bool
        Whether algorithms must give the same bits again.
    """
    return _switches.set((tf32, deterministic))


@dataclass(frozen=True)
class _State:
    """What torch is set to.

    Attributes
    ----------
    products : list of str
        By the names that torch has had since 2.9, of each of `_places`; none before.
    matmul : str or None
    convolutions : bool or None
        By the older names; None where the newer ones have said what these cannot.
    deterministic, only_warns, timed : bool
    """

    products: list[str]
    matmul: str | None
    convolutions: bool | None
    deterministic: bool
    only_warns: bool
    timed: bool


def _read() -> _State:
    cudnn: Any = torch.backends.cudnn
    return _State(
        [place.fp32_precision for place in _places()],
        _readable(torch.get_float32_matmul_precision),
        _readable(lambda: cudnn.allow_tf32),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.benchmark,
    )


def _readable(read: Callable[[], Setting]) -> Setting | None:
    try:
        return read()
    except RuntimeError:
        # The newer names were used, for something that the older ones cannot say.
        return None


def _write(tf32: bool, deterministic: bool) -> None:
    # By the older names: torch.compile reads them, and fails where they cannot say what is set.
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    if deterministic:
        torch.use_deterministic_algorithms(True)
    # The same shapes come again and again: cuDNN tries once which algorithm is the fastest. Which one that is
    # may differ from process to process, and with it the last bits.
    torch.backends.cudnn.benchmark = not deterministic


def _restore(before: _State) -> None:
    if before.matmul is not None:
        torch.set_float32_matmul_precision(before.matmul)
    if before.convolutions is not None:
        torch.backends.cudnn.allow_tf32 = before.convolutions
    for place, value in zip(_places(), before.products, strict=True):
        if place.fp32_precision != value:
            place.fp32_precision = value
    torch.use_deterministic_algorithms(before.deterministic, warn_only=before.only_warns)
    torch.backends.cudnn.benchmark = before.timed


def _places() -> list[Any]:
    """Return where torch keeps how products of matrices, convolutions and recurrent layers are rounded."""
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    return [matmul, cudnn.conv, cudnn.rnn] if hasattr(matmul, "fp32_precision") else []
