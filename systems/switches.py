"""What torch has once for a process: how products are rounded, and whether the same bits come again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

#: How torch calls products of 24 bits, and of 11.
PLAIN, ROUNDED = "ieee", "tf32"


class _Switches:
    """Sets them for all threads that want the same, one kind after the other."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._inside: list[int] = []
        self._now: tuple[str, bool] | None = None
        self._before: Any = None

    @contextmanager
    def set(self, wanted: tuple[str, bool]) -> Iterator[None]:
        """Have them so in the block."""
        with self._free:
            if self._now != wanted and threading.get_ident() in self._inside:
                raise RuntimeError(f"a block of {self._now} cannot hold one of {wanted}")
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
                if not self._inside:
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
    return _switches.set((ROUNDED if tf32 else PLAIN, deterministic))


def _read() -> tuple[list[str], bool, bool, bool]:
    return (
        [place.fp32_precision for place in _places()],
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )


def _write(products: str, deterministic: bool) -> None:
    for place in _places():
        place.fp32_precision = products
    if deterministic:
        torch.use_deterministic_algorithms(True)
    # The same shapes come again and again: cuDNN tries once which algorithm is the fastest. Which one that is
    # may differ from process to process, and with it the last bits.
    torch.backends.cudnn.benchmark = not deterministic


def _restore(before: tuple[list[str], bool, bool, bool]) -> None:
    products, deterministic, only_warns, timed = before
    for place, value in zip(_places(), products, strict=True):
        place.fp32_precision = value
    torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)
    torch.backends.cudnn.benchmark = timed


def _places() -> list[Any]:
    """Return where torch keeps how products of matrices, convolutions and recurrent layers are rounded."""
    cudnn: Any = torch.backends.cudnn
    return [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
