"""Hosts on one machine: network namespaces with addresses, names, and if wanted file systems of their own.

    with hosts("login", "node") as (login, node):
        scheduler = login.start("dask", "scheduler", "--host", login.address)
        worker = node.start("dask", "worker", f"tcp://{login.address}:8786", hidden=[folder])

They are joined by a switch that stands in a namespace, too: the machine's own network is neither seen nor
touched. Only root may do that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

#: What a process of a host begins with: its name, then folders to hide, then "--", then the command.
_BEGIN = (
    'hostname "$1"; shift; while [ "$1" != -- ]; do mount -t tmpfs none "$1" || exit 125; shift; done;'
    ' shift; exec "$@"'
)


class NoHosts(Exception):
    """No namespaces can be had here, and why."""


class Host:
    """A host: a namespace with one network card, eth0.

    Parameters
    ----------
    namespace, name, address : str
    """

    def __init__(self, namespace: str, name: str, address: str) -> None:
        self.namespace, self.name, self.address = namespace, name, address

    def command(self, *words: str, hidden: Sequence[Path] = ()) -> list[str]:
        """Return a command that runs on this host; there, hidden folders are empty."""
        unshared = ["unshare", "--mount", "--propagation", "private", "--uts"]
        begin = ["sh", "-c", _BEGIN, "sh", self.name, *map(str, hidden), "--"]
        return ["ip", "netns", "exec", self.namespace, *unshared, *begin, *words]

    def start(self, *words: str, hidden: Sequence[Path] = (), **how: Any) -> subprocess.Popen[str]:
        """Start a process on this host, of which every part of the command has become that process."""
        return subprocess.Popen(self.command(*words, hidden=hidden), text=True, **how)

    def traffic(self) -> tuple[int, int]:
        """Return how many bytes its network card has received and sent."""
        folder = "/sys/class/net/eth0/statistics"
        said = _ip("netns", "exec", self.namespace, "cat", f"{folder}/rx_bytes", f"{folder}/tx_bytes").split()
        return int(said[0]), int(said[1])

    def cut(self) -> None:
        """Pull the cable: nothing arrives, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def join(self) -> None:
        """Plug it in again."""
        _ip("-n", self.namespace, "link", "set", "eth0", "up")


@contextmanager
def hosts(*names: str) -> Iterator[tuple[Host, ...]]:
    """Make hosts that reach each other, and nobody else.

    Raises
    ------
    NoHosts
        If that is not possible here.
    """
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            raise NoHosts(f"{program}: not installed (apt-get install iproute2 util-linux)")
    mark = f"langevin-{os.getpid()}-{uuid.uuid4().hex[:4]}"
    switch = f"{mark}-switch"
    with ExitStack() as stack:
        _namespace(stack, switch)
        _permitted("-n", switch, "link", "add", "br0", "type", "bridge")
        _permitted("-n", switch, "link", "set", "br0", "up")
        yield tuple(
            _host(stack, Host(f"{mark}-{name}", name, f"10.0.0.{k + 1}"), switch, f"port{k}")
            for k, name in enumerate(names)
        )


def _host(stack: ExitStack, host: Host, switch: str, port: str) -> Host:
    inside = host.namespace
    _namespace(stack, inside)
    _permitted("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", inside)
    _permitted("-n", switch, "link", "set", port, "master", "br0", "up")
    _permitted("-n", inside, "address", "add", f"{host.address}/24", "dev", "eth0")
    for card in ("lo", "eth0"):
        _permitted("-n", inside, "link", "set", card, "up")
    return host


def _namespace(stack: ExitStack, name: str) -> None:
    _permitted("netns", "add", name)
    stack.callback(_end, name)


def _end(namespace: str) -> None:
    """Kill what still runs there, and remove it."""
    for number in _ip("netns", "pids", namespace).split():
        os.kill(int(number), 9)
    _ip("netns", "delete", namespace)


def _permitted(*words: str) -> None:
    try:
        _ip(*words)
    except subprocess.CalledProcessError as error:
        raise NoHosts(f"no network namespaces here: ip {' '.join(words)}: {error.stderr.strip()}") from None


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment for processes of hosts: one thread of each library."""
    return {**own, "OMP_NUM_THREADS": "1"}
