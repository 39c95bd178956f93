"""Programs that use langevin as users do, in threads and in pools of processes; each begins from nothing.

``python scenes.py SCENE ARGUMENTS`` ends with exit code 0 if all went as it should.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kinds import KINDS


def settings(kind: str, number: int = 0) -> dict[str, Any]:
    """Return settings of a kind; those of another number have another seed."""
    given = tomllib.loads(KINDS[kind].text)
    given["ensemble"] = {**given.get("ensemble", {}), "seed": 100 + number}
    return {**given, "output": {"figure": False}}


def energies(kind: str, number: int = 0) -> bytes:
    """Run a kind and return the bytes of its energies."""
    import langevin

    dataset = langevin.run(settings(kind, number), threads=1)
    return bytes(dataset["energy"].to_numpy().tobytes())


def _of(task: tuple[str, int]) -> bytes:
    return energies(*task)


def threads(kind: str, count: str) -> None:
    """Several runs in threads give the bits that each gives alone."""
    numbers = range(int(count))
    alone = [energies(kind, number) for number in numbers]
    for _ in range(3):
        with ThreadPoolExecutor(len(numbers)) as pool:
            together = list(pool.map(lambda number: energies(kind, number), numbers))
        assert together == alone, "other bits"


def notebook(kind: str) -> None:
    """One run in a thread; the main thread looks at its checkpoint meanwhile."""
    import langevin
    from langevin.errors import UserError
    from langevin.machine import pace

    pace.STRETCH = 1e-9
    alone, looks = energies(kind), 0
    given = settings(kind)
    given["output"] |= {"path": "background.nc", "checkpoint_interval": 0.0}
    for _ in range(2):
        thread = threading.Thread(target=lambda: langevin.run(given, threads=1, force=True).close())
        thread.start()
        while thread.is_alive():
            for path in ("background.checkpoint.nc", "background.nc"):
                try:
                    with langevin.open(path) as dataset:
                        dataset.load()
                    looks += 1
                except UserError as error:
                    assert "\n" not in str(error)
        thread.join()
    with langevin.open("background.nc") as dataset:
        assert dataset["energy"].to_numpy().tobytes() == alone, "other bits"
    print(looks)


def pool(kind: str, method: str) -> None:
    """After a run in the parent, a pool of processes does the same runs, to the same bits."""
    tasks = [(kind, number) for number in range(2)]
    alone = [_of(task) for task in tasks]
    with multiprocessing.get_context(method).Pool(2) as workers:
        together = workers.map_async(_of, tasks).get(
            timeout=float(os.environ.get("LANGEVIN_POOL_TIMEOUT", 120))
        )
    assert together == alone, "other bits"


if __name__ == "__main__":
    # What a run file names lies there.
    sys.path.insert(0, str(Path.cwd()))
    {"threads": threads, "notebook": notebook, "pool": pool}[sys.argv[1]](*sys.argv[2:])
