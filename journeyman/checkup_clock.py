"""Whether the clocks of several computers agree: what the kernel knows of its own, and a measurement against another's.

Stamps of ROS messages are compared with the clock of who receives them: a command from a host whose clock is 10 ms
ahead, or 0.1 s behind, is refused as one from the future, or as stale (docs/safety.md). Learner and actor compare none.
"""

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from agent.config import InputError
from journeyman.checkup import Check, Verdict

_ASKED, _TIMEOUT_S = 30, 0.2
# A question is padded to the size of an answer: nobody can make this a louder voice than their own.
_PACKET = struct.Struct("!8sqqq")
_MAGIC = b"jm-clock"
_AHEAD_S, _STALE_S = 0.010, 0.1
_STATUS_UNSYNCHRONISED = 0x40


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error_us", ctypes.c_long),
        ("estimated_error_us", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    ]


def synchronisation(read: Callable[[], tuple[bool, float]] | None = None) -> Check:
    """Whether something (chrony, systemd-timesyncd, ntpd) keeps this clock right.

    Args:
        read: Says whether it is kept right, and its largest error in s; by default the kernel is asked.
    """
    name = "clock synchronisation"
    try:
        synchronised, error_s = (read or _ask_kernel)()
    except (OSError, AttributeError) as error:
        return Check(name, Verdict.OK, f"not known here: {error}")
    if not synchronised:
        fix = "sudo apt-get install chrony, on every host of the robot; with one computer it does not matter."
        return Check(name, Verdict.WARN, "nothing keeps this clock right", fix)
    return Check(name, Verdict.OK, f"kept right, error at most {error_s * 1e3:.0f} ms")


def _ask_kernel() -> tuple[bool, float]:
    libc = ctypes.CDLL(None, use_errno=True)
    state = _Timex()
    if libc.adjtimex(ctypes.byref(state)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return not state.status & _STATUS_UNSYNCHRONISED, state.max_error_us * 1e-6


class Offset(NamedTuple):
    """How far another clock is ahead of this one: `seconds`, give or take `uncertainty_s`."""

    seconds: float
    uncertainty_s: float


def peer_clock(peer: str) -> Check:
    """How far the clock of a host is off on which `journeyman doctor answer=HOST:PORT` runs."""
    name = "clock of the peer"
    try:
        offset = measure_offset(split_address(peer))
    except OSError as error:
        reason = "nobody answers" if isinstance(error, TimeoutError) else str(error)
        fix = f"Start journeyman doctor answer={peer} there first, and let UDP through to that port."
        return Check(name, Verdict.FAIL, f"{peer}: {reason}", fix)
    found = (
        f"{peer} is {offset.seconds * 1e3:+.2f} ms ahead, give or take {offset.uncertainty_s * 1e3:.2f} ms"
    )
    surely_s = abs(offset.seconds) - offset.uncertainty_s
    fix = "Let both take their time from the same server: sudo apt-get install chrony."
    if surely_s >= _STALE_S:
        return Check(name, Verdict.FAIL, f"{found}: commands between them are refused", fix)
    if surely_s >= _AHEAD_S:
        return Check(name, Verdict.WARN, f"{found}: stamps seem to come from the future", fix)
    return Check(name, Verdict.OK, found)


def measure_offset(address: tuple[str, int], now_ns: Callable[[], int] = time.time_ns) -> Offset:
    """Ask for the time again and again; the quickest answer counts, as its way back and forth differ the least.

    Args:
        address: Host and port.
        now_ns: This clock.

    Raises:
        TimeoutError: Nobody answers.
        OSError: There is no way to it.
    """
    found: list[Offset] = []
    family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.settimeout(_TIMEOUT_S)
        asking.connect(place)
        for number in range(_ASKED):
            if number == _ASKED // 3 and not found:
                break
            sent_ns = now_ns()
            asking.send(_PACKET.pack(_MAGIC, sent_ns, 0, 0))
            try:
                answer = asking.recv(2 * _PACKET.size)
            except TimeoutError:
                continue
            heard_ns = now_ns()
            if len(answer) == _PACKET.size and answer.startswith(_MAGIC):
                _, asked_ns, taken_ns, given_ns = _PACKET.unpack(answer)
                if asked_ns == sent_ns:
                    away_ns = (heard_ns - sent_ns) - (given_ns - taken_ns)
                    ahead_ns = ((taken_ns - sent_ns) + (given_ns - heard_ns)) / 2
                    found.append(Offset(ahead_ns * 1e-9, abs(away_ns) / 2 * 1e-9))
    if not found:
        raise TimeoutError(errno.ETIMEDOUT, "nobody answers")
    return min(found, key=lambda offset: offset.uncertainty_s)


class ClockAnswerer:
    """Tells the time to who asks by UDP. It tells nothing else, and keeps nothing.

    Args:
        address: Host and port to listen at.
        now_ns: The clock.

    Raises:
        InputError: Nobody can listen there.
    """

    def __init__(self, address: tuple[str, int], now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.bind(place)
        except OSError as error:
            raise InputError(
                f"Nobody can listen at {address[0]}:{address[1]} ({error.strerror}): choose an address of this machine "
                "and a free port."
            ) from None
        self.port: int = self._socket.getsockname()[1]

    def serve(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                question, place = self._socket.recvfrom(2 * _PACKET.size)
                taken_ns = self._now_ns()
                if len(question) == _PACKET.size and question.startswith(_MAGIC):
                    asked_ns = _PACKET.unpack(question)[1]
                    self._socket.sendto(_PACKET.pack(_MAGIC, asked_ns, taken_ns, self._now_ns()), place)
            except OSError:
                if self._socket.fileno() < 0:
                    return

    def close(self) -> None:
        """End `serve`; idempotent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # Wakes who waits, though it was never connected.
        self._socket.close()


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`.

    Raises:
        InputError: It is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{text!r} must be HOST:PORT, such as 192.168.1.5:5499.")
    return host.strip("[]"), int(port)
