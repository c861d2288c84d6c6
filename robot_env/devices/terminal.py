"""A terminal as a source of key presses: read without waiting, and given back as it was found, whatever happens."""

import atexit
import codecs
import os
import re
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from math import inf
from types import FrameType
from typing import Any

from controllers.config import InputError
from robot_env.robot import RobotUnavailableError

TERMINAL_VARIABLE = "JOURNEYMAN_TERMINAL"
"""Path of the terminal of the person who started a process that has none of its own."""

_NAMES = {" ": "space", "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace"}
_SEQUENCES = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "1~": "home", "2~": "insert",
    "3~": "delete", "4~": "end", "5~": "page_up", "6~": "page_down",
}  # fmt: skip
# Control sequences of ECMA-48, and the keys that terminals send after ESC O. Unknown ones are passed over whole.
_TOKEN = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|\x1b|[^\x1b]", re.DOTALL)
_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")
_CHUNK = 4096
# As in tmux and vim: long enough for a sequence that the network has torn apart.
_ESCAPE_S = 0.05


class Terminal:
    """Keys that are pressed in a terminal, by their names.

    While it is open, keys are not echoed, Ctrl-C works as ever, and Ctrl-Z and Ctrl-S do nothing: a control loop that
    is halted leaves its arm without commands. `close`, the end of the process and SIGTERM restore the terminal.

    Args:
        path: Of the terminal; by default that of whoever started the process.
        now_s: Tells the key Escape from the beginning of a longer sequence.
    """

    def __init__(self, path: str | None = None, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._before: list[Any] = []
        self._now_s = now_s
        self._received_s = -inf
        self._pending = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._handled: list[int] = []

    def open(self) -> None:
        """Begin to listen; does nothing where it is open.

        Raises:
            InputError: There is no terminal.
        """
        if self._descriptor is not None:
            return
        path = self._path or _own_terminal()
        try:
            # An open file of its own: reading without waiting must not leak to the shell that shares ours. Without
            # O_NOCTTY the terminal would belong to a process that has none, and its hang-up would end that.
            descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(
                f"Keys cannot be read from {path}: {error.strerror}; start this in a terminal."
            ) from None
        try:
            self._before = termios.tcgetattr(descriptor)
            termios.tcsetattr(descriptor, termios.TCSADRAIN, _listening(self._before))
        except termios.error:
            os.close(descriptor)
            raise InputError(
                f"Keys cannot be read from {path}, which is no terminal: start this in one."
            ) from None
        self._descriptor = descriptor
        atexit.register(self.close)
        self._restore_when_terminated()

    def read(self) -> list[str]:
        """Names of the keys pressed since the last call, oldest first: `a`, `space`, `up`, `escape`.

        Raises:
            RobotUnavailableError: The terminal is gone.
        """
        if self._descriptor is None:
            raise RobotUnavailableError("The terminal was closed: start again in a terminal.")
        received = self._receive()
        if received:
            self._received_s = self._now_s()
        text = self._pending + self._decoder.decode(received)
        # The rest of a sequence comes a moment later; what stays alone is the key Escape.
        waits = self._now_s() - self._received_s < _ESCAPE_S
        unfinished = _UNFINISHED.search(text) if waits else None
        complete = text[: unfinished.start()] if unfinished else text
        self._pending = text[len(complete) :]
        return [name for token in _TOKEN.findall(complete) if (name := _name(token))]

    def close(self) -> None:
        """Give the terminal back as it was found; idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        atexit.unregister(self.close)
        for number in self._handled:
            signal.signal(number, signal.SIG_DFL)
        self._handled.clear()
        try:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, self._before)
        except termios.error:
            pass  # It is gone.
        finally:
            os.close(descriptor)

    def _receive(self) -> bytes:
        assert self._descriptor is not None
        received = b""
        try:
            while chunk := os.read(self._descriptor, _CHUNK):
                received += chunk
        except BlockingIOError:
            return received
        except OSError as error:
            raise RobotUnavailableError(f"The terminal is gone ({error.strerror}): start again.") from None
        raise RobotUnavailableError("The terminal is gone (it was hung up): start again.")

    def _restore_when_terminated(self) -> None:
        """A program that handles SIGTERM ends by closing this; one that does not would never come to it."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._terminated)
                self._handled.append(number)

    def _terminated(self, number: int, _: FrameType | None) -> None:
        self.close()
        os.kill(os.getpid(), number)


class TerminalState:
    """Remembers how a terminal is, to put it back after a process that was killed while it listened.

    Args:
        path: Of the terminal; None where there is none, and nothing is done.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._before = self._attributes()

    def restore(self) -> None:
        """Put it back."""
        if self._before is None or self.path is None:
            return
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return  # It is gone.
        try:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, self._before)
        finally:
            os.close(descriptor)

    def _attributes(self) -> list[Any] | None:
        if self.path is None:
            return None
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOCTTY)
        try:
            return termios.tcgetattr(descriptor)
        finally:
            os.close(descriptor)


def terminal_here() -> str | None:
    """Path of the terminal of this process' standard input; None if that is none."""
    try:
        return os.ttyname(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        return None


def _own_terminal() -> str:
    path = os.environ.get(TERMINAL_VARIABLE) or terminal_here()
    if path is None:
        raise InputError(
            "Keys cannot be read: standard input is no terminal. Start this in a terminal, or name one as "
            "device.config.terminal (the command `tty` says its path)."
        )
    return path


def _listening(before: list[Any]) -> list[Any]:
    """Terminal attributes with which every key comes at once and unechoed, and Ctrl-Z and Ctrl-S mean nothing."""
    mode = [*before[:6], list(before[6])]
    mode[0] &= ~(termios.IXON | termios.ICRNL)
    mode[3] &= ~(termios.ECHO | termios.ICANON)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    mode[6][termios.VSUSP] = b"\0"
    return mode


def _name(token: str) -> str | None:
    if token == "\x1b":
        return "escape"
    if token.startswith("\x1b"):
        return _SEQUENCES.get(token[2:])
    # With Caps Lock the keys are still the same keys.
    return _NAMES.get(token) or (token.lower() if token.isprintable() else None)
