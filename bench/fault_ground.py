"""Network and disks that a fault can reach, for bench/faults.py; real ones where this user may make them.

Root on Linux gets two network namespaces, the learner's and the robots', joined by a cable that can be pulled, and
small ext4 file systems that can be full or stand still. Everybody else gets a relay on the loopback and no disks.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LEARNER, ROBOTS = "learner", "robots"
_PORT, _RELAY_PORT = 5488, 5489
_ADDRESSES = {LEARNER: "10.77.0.2", ROBOTS: "10.77.0.1"}


def is_privileged() -> bool:
    """Whether namespaces and file systems can be made here."""
    if os.geteuid() != 0:
        return False
    if not all(map(shutil.which, ("ip", "mkfs.ext4", "fsfreeze", "mount"))):
        return False
    # In most containers root may not.
    trial = ["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    allowed = subprocess.run(trial, capture_output=True, check=False).returncode == 0
    return allowed and Path("/dev/loop-control").exists()


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Network:
    """The way between learner and robots.

    Args:
        log: Of the relay.
        privileged: Whether there are two namespaces and a cable.

    Attributes:
        learner_address: Where the learner listens.
        actor_address: Where actors connect: a relay, which leads there.
        needs_keys: Whether the learner can be reached from a network.
    """

    def __init__(self, log: Path, privileged: bool) -> None:
        self._privileged = privileged
        self._names = {side: f"jm-{side}-{os.getpid()}" for side in (LEARNER, ROBOTS)}
        self.needs_keys = privileged
        host = _ADDRESSES[LEARNER] if privileged else "127.0.0.1"
        self.learner_address = f"tcp://{host}:{_PORT}"
        self.actor_address = f"tcp://127.0.0.1:{_RELAY_PORT}"
        if privileged:
            self._lay_cable()
        command = [sys.executable, "-m", "bench.fault_relay", f"127.0.0.1:{_RELAY_PORT}", f"{host}:{_PORT}"]
        with log.open("ab") as output:
            self._relay = subprocess.Popen(
                self.within(ROBOTS, command), stdin=subprocess.PIPE, stdout=output, stderr=output, text=True
            )

    def within(self, side: str, command: Sequence[str]) -> list[str]:
        """The same command, on this side of the network; its process becomes the command's."""
        return ["ip", "netns", "exec", self._names[side], *command] if self._privileged else list(command)

    def tell_relay(self, line: str) -> None:
        """See `bench.fault_relay`."""
        assert self._relay.stdin is not None
        self._relay.stdin.write(line + "\n")
        self._relay.stdin.flush()

    def pull_cable(self, pulled: bool) -> None:
        """Both sides lose the network, or have it again; on the loopback, every connection ends."""
        if self._privileged:
            self._in(LEARNER, "ip", "link", "set", "cable", "down" if pulled else "up")
        else:
            self.tell_relay("cut" if pulled else "open")

    def block(self, blocked: bool) -> None:
        """What the learner sends to the robots is lost in silence, as behind a firewall."""
        if self._privileged:
            self._in(LEARNER, "ip", "route", "add" if blocked else "del", "blackhole", _ADDRESSES[ROBOTS])
        else:
            self.tell_relay("hang" if blocked else "open")

    def close(self) -> None:
        """Take everything away; idempotent."""
        self._relay.kill()
        self._relay.wait()
        if self._privileged:
            for name in self._names.values():
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _lay_cable(self) -> None:
        for name in self._names.values():
            _do("ip", "netns", "add", name)
        ends = [["netns", self._names[side]] for side in (LEARNER, ROBOTS)]
        _do("ip", "link", "add", "cable", *ends[0], "type", "veth", "peer", "name", "cable", *ends[1])
        for side, address in _ADDRESSES.items():
            self._in(side, "ip", "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("cable", "lo"):
                self._in(side, "ip", "link", "set", device, "up")

    def _in(self, side: str, *words: str) -> None:
        _do(*self.within(side, words))


class Disk:
    """A folder; a file system of its own where this user may mount one.

    Args:
        folder: Is made.
        privileged: Whether it is mounted.
        megabytes: Its size then.
    """

    def __init__(self, folder: Path, privileged: bool, megabytes: int = 512) -> None:
        self.folder = folder
        self._mounted = False
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True)
        if privileged:
            image = folder.with_suffix(".ext4")
            with image.open("wb") as file:
                file.truncate(megabytes << 20)
            _do("mkfs.ext4", "-q", "-m", "0", str(image))
            _do("mount", "-o", "loop", str(image), str(folder))
            self._mounted = True

    def fill(self) -> None:
        """Leave not one block free."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def stand_still(self, still: bool) -> None:
        """Whoever writes waits until it goes on."""
        # It may be as wanted already: a run that was broken off does not know.
        subprocess.run(
            ["fsfreeze", "--freeze" if still else "--unfreeze", str(self.folder)],
            capture_output=True,
            check=False,
        )

    def close(self) -> None:
        """Unmount; idempotent."""
        if self._mounted:
            self.stand_still(False)
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
            self._mounted = False
