"""Functions of a step are compiled by `torch.compile`, and what it makes of them is kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from langevin.errors import UserError, shortened

Given = ParamSpec("Given")
Result = TypeVar("Result")

#: What torch calls the folder of what it has compiled; by itself it takes one that is lost at a restart.
FOLDER = "TORCHINDUCTOR_CACHE_DIR"


def compiled(function: Callable[Given, Result], name: str) -> Callable[Given, Result]:
    """Return a function that is compiled when it is first called.

    Parameters
    ----------
    function : callable
        Of tensors whose shapes stay the same.
    name : str
        What computes there: for messages.

    Raises
    ------
    UserError
        From the first call, if it cannot be compiled.
    """
    _keep()
    inner: Callable[Given, Result] = torch.compile(function, dynamic=False)

    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return inner(*args, **kwargs)
        except _failures() as error:
            said = shortened(" ".join(str(error).split()), 200)
            raise UserError(
                f"dynamics.compile = true: {name} cannot be compiled here ({said}); allowed: false"
            ) from None

    return call


@cache
def _failures() -> tuple[type[Exception], ...]:
    """Return what torch raises where it cannot compile, not where what it compiles fails."""
    from torch._dynamo import exc
    from torch._inductor import exc as inner

    return exc.TorchDynamoException, inner.InductorError


@cache
def _keep() -> None:
    """Name a folder that lasts, unless the user has named one or none can be written."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("langevin", appauthor=False)) / "torch"
    if FOLDER not in os.environ and _writable(folder):
        os.environ[FOLDER] = str(folder)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
