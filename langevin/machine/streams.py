"""Whatever standard output and standard error of the command are, no result is lost to them."""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
from typing import Any

from langevin.errors import StorageError

from . import transliteration


class OutputError(StorageError):
    """Standard output cannot be written to."""


class _Output(io.FileIO):
    """Standard output: the first failure is an error of one line; what comes after it is dropped."""

    failed = False

    def write(self, data: Any) -> int:
        if self.failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.failed = True
            if isinstance(error, BrokenPipeError):
                # Whoever read has seen enough, and click ends in silence.
                raise
            raise OutputError(f"cannot write to standard output: {error.strerror}") from None


class _Remarks(io.FileIO):
    """Standard error: if it cannot be written to, nobody can be told, and a run goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Let standard output and error take any character, and fail in one line if they are closed or full.

    Streams that somebody has put in their place (a notebook, a test) are told of the characters alone.
    """
    transliteration.register()
    _keep_descriptors()
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _rebuilt(sys.stdout, _Output(1, "w", closefd=False))
    else:
        _tell(sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _rebuilt(sys.stderr, _Remarks(2, "w", closefd=False))
    else:
        _tell(sys.stderr)


def speaks_unicode() -> bool:
    """Return whether standard output takes every character as UTF-8."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return codecs.lookup(encoding).name == "utf-8"


def _keep_descriptors() -> None:
    """Open the null device where a standard stream is closed, or the next file opened would be in its place.

    Output that is closed stays one that cannot be written to.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            os.set_inheritable(opened, True)


def _tell(stream: Any) -> None:
    """Give the handler of errors to a stream that is not ours to replace."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding=_encoding(stream), errors=transliteration.ERRORS)


def _encoding(stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or locale.getpreferredencoding(False)
    return transliteration.ASCII if codecs.lookup(encoding).name == "ascii" else encoding


def _plain_wanted() -> bool:
    """Return whether whoever started this asked for ASCII: Python takes the locale C for one with UTF-8."""
    chosen = os.environ.get("PYTHONUTF8") == "1" or bool(os.environ.get("PYTHONIOENCODING"))
    return os.environ.get("LC_ALL") in ("C", "POSIX") and not chosen


def _rebuilt(stream: Any, raw: io.FileIO) -> io.TextIOWrapper:
    """Return a text stream on a descriptor, otherwise like the one that Python made of it."""
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=transliteration.ASCII if _plain_wanted() else _encoding(stream),
        errors=transliteration.ERRORS,
        line_buffering=True,
        write_through=getattr(stream, "write_through", False),
    )
