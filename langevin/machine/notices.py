"""A notice is said once on stderr, however many functions and processes find it out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping

from langevin import speech

#: Environment variable with the keys of what other processes of the same command say; "*": anything.
VARIABLE = "LANGEVIN_SAID"

_said = {key for key in os.environ.get(VARIABLE, "").split(",") if key}


def once(key: str, text: str) -> None:
    """Say something in one line, unless it was said before.

    Parameters
    ----------
    key : str
        What it is about, in one word.
    text : str
    """
    if not {key, "*"} & _said:
        _said.add(key)
        if sys.stderr is not None:
            # Where nobody listens there is nothing to say.
            with contextlib.suppress(OSError, ValueError):
                print(f"langevin: {text}", file=sys.stderr, flush=True)


def environment(speaks: bool) -> Mapping[str, str]:
    """Return the environment of a process of the same command.

    Parameters
    ----------
    speaks : bool
        Whether it may say what this process has not said; of several alike one alone should.
    """
    return {**os.environ, **speech.environment(), VARIABLE: ",".join(sorted(_said)) if speaks else "*"}
