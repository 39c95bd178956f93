"""The start of a run may take longer than a queue allows: it is saved and resumed as the run is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from numpy.typing import NDArray

from langevin.config.settings import Settings
from langevin.config.toml_text import plain
from langevin.core.probe import Run
from langevin.errors import UserError
from langevin.files import storage
from langevin.files.paths import Paths
from langevin.machine import pace
from langevin.machine.interruption import interruptible
from langevin.machine.reports import Place, Saved

from .progress import preparing
from .session import LOST, Manner, going_on
from .unfinished import attributes

#: How the status of a start that is not finished begins, in the attributes of its checkpoint.
STATUS = "unfinished: start"


@dataclass(frozen=True)
class Unfinished:
    """A start that an earlier process has left.

    Attributes
    ----------
    saved : Saved
        Where it was.
    attributes : mapping
        Global attributes of the result.
    working : Path
        The directory in which the run began: from there paths of the run file lead.
    """

    saved: Saved
    attributes: dict[str, Any]
    working: Path

    @classmethod
    def read(cls, arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, Any]) -> Unfinished | None:
        """Return what a checkpoint holds of a start; None if it is that of a run that has begun."""
        if "start" not in notes:
            return None
        saved = Saved(arrays, notes["start"])
        return cls(saved, dict(notes["attributes"]), Path(notes["working"]))

    def located(self, settings: Settings) -> Settings:
        """Return the settings with the file of [start] where it was."""
        if settings.start is None:
            return settings
        file = str(self.working / settings.start.file)
        return replace(settings, start=settings.start.model_copy(update={"file": file}))


class Start:
    """Makes the state at t = 0, and saves on the way where it is.

    Parameters
    ----------
    settings : Settings
    paths : Paths
        Locked by the caller; free, or with what `unfinished` was read from.
    manner : Manner
    unfinished : Unfinished, optional
        What an earlier process has left.
    """

    def __init__(
        self, settings: Settings, paths: Paths, manner: Manner, unfinished: Unfinished | None = None
    ) -> None:
        self.settings, self.paths, self.manner, self.unfinished = settings, paths, manner, unfinished
        #: Whether it is saved, by this process or an earlier one.
        self.saved = unfinished is not None
        self._due = time.monotonic() + settings.output.checkpoint_interval

    def telling(self) -> AbstractContextManager[None]:
        """Return a context in which a request to stop is heard at once, and it is said what is left."""
        return interruptible(self.manner.stop, self._left)

    def _left(self) -> str:
        if self.saved:
            return f" in the start of the run; {going_on(self.settings, self.paths)}"
        lost = "nothing was there to save: it begins anew when it is run again"
        return f" before the run began; {lost if self.settings.output.path else LOST}"

    def make(self, run: Run, about: Mapping[str, Any]) -> None:
        """Give the run its initial state.

        Parameters
        ----------
        run : Run
            With noise that nobody has drawn from.
        about : mapping
            Global attributes of the result.
        """
        begun = None if self.unfinished is None else self.unfinished.saved

        def heard(done: float, place: Callable[[], Place] | None) -> None:
            if place is not None and self.settings.output.path:
                # What it has, it can save: to be interrupted anywhere would cost more.
                self.manner.stop.wait()
                if self.manner.stop.asked or time.monotonic() >= self._due:
                    self._save(done, place(), about)

        try:
            title, manner = self.settings.title, self.manner
            with preparing(title, manner.progress, heard=heard, begun=begun, log=manner.log):
                run.state = run.system.initial_state(run.noise)
        except UserError:
            # It would end so again: nobody is to resume it.
            if self.saved:
                self.paths.discard()
            raise

    def _save(self, done: float, place: Place, about: Mapping[str, Any]) -> None:
        began = time.monotonic()
        if not self.saved:
            # An unfinished run, which --force gives up.
            self.paths.discard()
        notes = {
            **self.settings.noted,
            "working": str(self.unfinished.working if self.unfinished else Path.cwd()),
            "start": [plain(g.bit_generator.state) for g in place.generators],
            "attributes": dict(about),
        }
        dataset = xr.Dataset(attrs={**about, "status": f"{STATUS}, {done:.0%}"})
        storage.write_checkpoint(self.paths.checkpoint, dataset, place.arrays, notes)
        self.saved = True
        now = time.monotonic()
        self._due = now + pace.rest(self.settings.output.checkpoint_interval, now - began)
        self.manner.stop.reserve(pace.STRETCH + 2 * (now - began))


def is_start(checkpoint: Path) -> bool:
    """Return whether a checkpoint is that of a start, in which nothing has been measured yet."""
    return str(attributes(checkpoint).get("status", "")).startswith(STATUS)
