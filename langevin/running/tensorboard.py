"""Event files of TensorBoard, which `tensorboard --logdir` shows while a run goes on."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from .tracking import Tracked

PATTERN = "events.out.tfevents.*"


class Events:
    """Writes scalars into the event folder of a run.

    Parameters
    ----------
    run : Tracked
        One that goes on, goes on in the same folder; of one that begins, older event files go.

    Attributes
    ----------
    last : int
        The last step in the folder; -1 if there is none. All scalars of a step are one record: it is there,
        or not.
    """

    def __init__(self, run: Tracked) -> None:
        from tensorboardX import FileWriter

        files = sorted(run.folder.glob(PATTERN))
        if not run.goes_on:
            for file in files:
                file.unlink()
            files = []
        self.last = max((step for file in files for step in steps(file)), default=-1)
        # Names tell seconds: two processes within one would write the same file.
        self._writer = FileWriter(str(run.folder), filename_suffix=f".{len(files)}")

    def __call__(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the scalars of a step."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._writer.add_summary(Summary(value=values), step)

    def flush(self) -> None:
        """Let readers see all that was written."""
        self._writer.flush()

    def close(self) -> None:
        """Write no more."""
        self._writer.close()


def steps(file: Path) -> Iterator[int]:
    """Yield the steps of the scalars in an event file, as far as it is whole.

    It consists of records: the length n of the data (8 bytes), a check of that (4), the data (n), and a check
    of these (4).
    """
    from tensorboardX.proto.event_pb2 import Event

    with file.open("rb") as opened:
        while len(header := opened.read(12)) == 12:
            (size,) = struct.unpack("<Q", header[:8])
            data = opened.read(size + 4)
            if len(data) < size + 4:
                return
            event = Event.FromString(data[:size])
            if event.summary.value:
                yield event.step


def events(run: Tracked) -> Events:
    """Return what writes event files."""
    return Events(run)
