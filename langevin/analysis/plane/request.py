"""The options of `langevin plane` are one object."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from langevin.errors import UserError
from langevin.observables.landscape.random_directions import Normalise
from langevin.speech import option


@dataclass(frozen=True)
class PlaneRequest:
    """What was asked for; the options of `langevin plane`, by their names.

    UserError if one has a value that is not allowed.
    """

    files: tuple[Path, ...] = ()
    principal: Path | None = None
    random: bool = False
    normalise: Normalise = "filter"
    seed: int = 0
    extent: float = 1.0
    replica: int = 0
    replicas: str | None = None
    time: float | None = None
    trajectory: tuple[Path, ...] = ()
    curve: tuple[Path, ...] = ()
    grid: int = 21
    margin: float = 0.2
    cover: bool = False
    threads: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        """Refuse what the command line would."""
        for name, is_allowed, words in (
            ("normalise", self.normalise in get_args(Normalise), f"one of {', '.join(get_args(Normalise))}"),
            ("seed", self.seed >= 0, "≥ 0"),
            ("extent", 0 < self.extent < math.inf, "a finite number > 0"),
            ("grid", self.grid >= 2, "≥ 2 points along each axis"),
            ("margin", 0 <= self.margin < math.inf, "a finite number ≥ 0"),
        ):
            if not is_allowed:
                raise UserError(f"{option(name, getattr(self, name))}: must be {words}")

    @property
    def sources(self) -> list[Path]:
        """All files that are read."""
        principal = [self.principal] if self.principal is not None else []
        return [*self.files, *principal, *self.trajectory, *self.curve]
