"""Packages that most users do not need are extras: who needs one that is missing is told what to install."""

from __future__ import annotations

import importlib.util

from langevin.errors import UserError


def require_package(package: str, what: str, extra: str) -> None:
    """Make sure that a package is there.

    Parameters
    ----------
    package : str
    what : str
        What needs it, as messages call it.
    extra : str
        The extra that installs it.

    Raises
    ------
    UserError
        If it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f'{what}: needs {package}, which is not installed: pip install "langevin-engine[{extra}]"'
        )
