"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --threads and --quiet to a command."""
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="No progress bar, no summary."),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Processors to use (default: all). Results do not depend on it.",
        ),
    ):
        command = option(command)
    return command
