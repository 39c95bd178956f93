"""The `langevin` command is put together here; heavy imports stay inside commands: help answers at once."""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import click

from langevin import speech
from langevin.errors import ConfigError, Interrupted, LangevinError, LangevinWarning, explanation, shortened
from langevin.machine import streams
from langevin.machine.transliteration import visible
from langevin.version import __version__

from .data import data
from .landscape import connect, ensemble, plane
from .queues import combine, member, submit
from .results import compare, export, info, plot
from .runs import init, resume, run, schema, systems, validate

#: A further command is a function in a file of this folder, and its name here.
COMMANDS = (
    *(run, resume, submit, member, combine),
    *(plot, compare, info, export, validate, systems, init, schema, data, connect, ensemble, plane),
)


class Group(click.Group):
    """A group of commands that says an error in one line and exits with its code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Prepare what is written to, and go on as click does."""
        if extra.get("standalone_mode", True):
            streams.prepare()
        try:
            return super().main(*args, **extra)
        except streams.OutputError as error:
            # Help, which click writes before any command runs.
            _say(str(error))
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with --debug errors keep their traceback."""
        try:
            with speech.to_shell():
                return super().invoke(ctx) if ctx.params.get("debug") else self._invoke(ctx)
        except Interrupted as error:
            _say(str(error))
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            # Where nothing has to be saved, or at the second one.
            _say("stopped by Ctrl-C")
            ctx.exit(Interrupted.exit_code)

    def _invoke(self, ctx: click.Context) -> Any:
        sys.excepthook = _one_line
        try:
            with warnings.catch_warnings():
                warnings.showwarning = functools.partial(_warn, warnings.showwarning)
                return super().invoke(ctx)
        except ConfigError as error:
            _say(str(error), lines=True)
            ctx.exit(error.exit_code)
        except LangevinError as error:
            _say(str(error))
            ctx.exit(error.exit_code)
        except MemoryError as error:
            _say(f"not enough memory ({error}): fewer replicas, or a smaller system")
            ctx.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            _say(explanation(error))
            ctx.exit(1)
        except UnicodeEncodeError as error:
            if error.encoding != sys.getfilesystemencoding():
                raise
            _say(
                f"{error.object}: file names have the encoding {error.encoding} here, which lacks some of "
                "its characters; allowed: a locale with UTF-8, such as LC_ALL=C.UTF-8"
            )
            ctx.exit(2)


def _say(text: str, lines: bool = False) -> None:
    """Say what went wrong, in one line unless it has lines of its own: names and values may hold anything."""
    said = "\n".join(map(visible, text.split("\n"))) if lines else visible(text)
    click.echo(f"langevin: {said}", err=True)


def _warn(otherwise: Callable[..., None], message: Warning | str, *where: Any, **further: Any) -> None:
    """Say a warning of ours in one line; others as they are."""
    if isinstance(message, LangevinWarning):
        _say(f"warning: {message}")
    else:
        otherwise(message, *where, **further)


def _one_line(kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None) -> None:
    """Say what nobody foresaw in one line, too."""
    said = shortened(" ".join(str(error).split()), 1000)
    _say(f"unexpected {kind.__name__}: {said} (langevin --debug … shows where)")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="langevin")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Simulate glasses and deep networks with one Langevin engine.

    A run file goes in, a netCDF file with energies and two-time correlations comes out.
    """


for command in COMMANDS:
    main.add_command(command)
