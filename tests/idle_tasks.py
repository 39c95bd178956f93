"""Tasks for processes, in the tests of sweeps: what a member may do there, without computing anything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from langevin.errors import UserError
from langevin.machine import cards
from langevin.machine.interruption import listening
from langevin.sweep.executors.base import Job


def idle(job: Job, threads: int, report: Callable[[float], None]) -> None:
    """Leave a note of who does what, and do what the job says."""
    again = Path(job["note"]).exists()
    Path(job["note"]).write_text(f"{os.getpid()} {threads}")
    report(0.5)
    # What a system prints is no message.
    print("hello")
    if job["does"] == "takes a card":
        Path(job["note"]).write_text(f"{cards.mine(2)} {threads}")
        time.sleep(0.5)
    if job["does"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job["does"] == "stumbles":
        raise ValueError("the test wants it so")
    if job["does"] == "fails":
        raise UserError("system.n = 3: allowed: 2")
    if job["does"] == "naps":
        time.sleep(0.5)
    if job["does"] == "lasts":
        time.sleep(60)
    if job["does"] == "is deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if job["does"] == "is signalled always" or (job["does"] == "is signalled" and not again):
        os.kill(os.getpid(), signal.SIGTERM)
    if job["does"] == "is interrupted" and not again:
        with listening() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            stop.heed()
    if job["does"] == "runs out of time":
        with listening(1e-3) as stop, stop.at_once():
            time.sleep(60)
