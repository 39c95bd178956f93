"""Print the table of coverages of docs/observables.md: `python tests/error_bars/table.py [modules]`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
HEAD = "| quantity | samples | runs | bias/σ | spread/quoted | in 68 % | in 95 % | no number |"


def main(names: list[str]) -> None:
    """Print the rows of each module with `rows()`, in the order of their names."""
    sys.path.insert(0, str(HERE))
    chosen = names or sorted(path.stem for path in HERE.glob("test_*.py"))
    print(HEAD + "\n|" + "---|" * (HEAD.count("|") - 1), flush=True)
    for name in chosen:
        for row in importlib.import_module(name).rows():
            parts = (f"{row.bias:+.2f}", f"{row.ratio:.2f}", f"{100 * row.inside_68:.0f}")
            more = (f"{100 * row.inside_95:.0f}", f"{100 * row.missing:.0f} %")
            print(
                "| " + " | ".join([row.quantity, str(row.samples), str(row.runs), *parts, *more]) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
