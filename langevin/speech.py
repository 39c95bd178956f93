"""Messages name options and commands here, in the words of whoever reads them: of the shell, or of Python.

Whoever called `langevin.run` cannot give ``--force``; whoever typed ``langevin run`` cannot pass
``force=True``. So a message never writes such a word itself. It says ``option("force")``, and reads as one
or the other when it is made: the command line says once that it speaks (`to_shell`), and processes that it
starts are told by their environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: Environment variable by which processes of one command know whom they speak to.
VARIABLE = "LANGEVIN_SPOKEN_TO"

#: Options that take no value. In Python they are arguments that may be True.
FLAGS = frozenset(("align", "cover", "extrapolate", "force", "overlay", "random", "resume", "trust"))

#: Options that may be given more than once. In Python they are lists.
LISTS = frozenset(("at", "label"))

#: Option of the shell → argument in Python, where these are not called alike.
ARGUMENTS = {"set": "overrides", "axis": "axes"}

#: Command of the shell → function of `langevin`: those of the same name, and `info`.
FUNCTIONS = {
    **{name: name for name in ("compare", "connect", "ensemble", "plane", "plot", "resume", "run")},
    "info": "summary",
}

#: A function that is no command.
MEMBERS = "members"

_shell = os.environ.get(VARIABLE) == "shell"


@contextmanager
def to_shell() -> Iterator[None]:
    """Inside, all that is said is said to the user of a shell."""
    global _shell
    before, _shell = _shell, True
    try:
        yield
    finally:
        _shell = before


def environment() -> Mapping[str, str]:
    """Return what the environment of a process has to hold that speaks to the same user."""
    return {VARIABLE: "shell"} if _shell else {}


def option(name: str, value: object = "") -> str:
    """Return an option, as the reader of a message writes it.

    Parameters
    ----------
    name : str
        Of the option, without its dashes.
    value : object
        What is given to it, as the shell has it; nothing for the option as such.

    Examples
    --------
    >>> option("force"), option("size", 5), option("replicas"), option("quantity", "aging")
    ('force=True', 'size=5', 'replicas=', "quantity='aging'")
    >>> with to_shell():
    ...     option("force"), option("size", 5), option("replicas")
    ('--force', '--size 5', '--replicas')
    """
    if _shell:
        return f"--{name} {value}".rstrip()
    argument = ARGUMENTS.get(name, name).replace("-", "_")
    if name in FLAGS:
        return f"{argument}=True"
    said = _literal(value)
    return f"{argument}={f'[{said}]' if said and name in LISTS else said}"


def assigned(key: str, value: str) -> str:
    """Return how a key of the run file is given another value; `value` is as run files have it.

    Examples
    --------
    >>> assigned("sweep.system.n", "[…]")
    "overrides={'sweep.system.n': […]}"
    """
    return option("set", f"'{key}={value}'") if _shell else f"overrides={{{key!r}: {value}}}"


def _literal(value: object) -> str:
    """Return a value as Python's source has it: text of the shell between quotes, numbers as they are."""
    said = str(value)
    if not said or said[0] in "'\"[({":
        return said
    try:
        float(said)
    except ValueError:
        return repr(said)
    return said


def command(name: str, *arguments: object) -> str:
    """Return a command, or what Python has in its place, as the reader of a message gives it.

    Examples
    --------
    >>> command("resume", "pspin.nc"), command("combine", "pspin.nc")
    ("`langevin.resume('pspin.nc')`", '`langevin combine pspin.nc` in a shell')
    >>> with to_shell():
    ...     command("resume", "pspin.nc")
    '`langevin resume pspin.nc`'
    """
    if name == MEMBERS:
        return f"`langevin.{name}`" + (" in Python" if _shell else "")
    if _shell or name not in FUNCTIONS:
        return f"`{' '.join(['langevin', name, *map(str, arguments)])}`" + ("" if _shell else " in a shell")
    if not arguments:
        return f"`langevin.{FUNCTIONS[name]}`"
    return f"`langevin.{FUNCTIONS[name]}({', '.join(map(repr, map(str, arguments)))})`"
