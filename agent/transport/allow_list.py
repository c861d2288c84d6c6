"""Whose keys may connect, read again when the folder changes: nobody restarts a learner to let an actor in."""

import logging
import time
from pathlib import Path

import zmq
from zmq.utils import z85

from agent.config import InputError
from agent.storage import is_storage_error
from agent.transport.curve import PUBLIC, fingerprint, load_public
from agent.transport.limits import Allowance

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class AllowList:
    """Answers ZeroMQ's question who may connect (ZAP, RFC 27), on the thread that polls `socket`.

    A key's name is that of its file. Create the list before the server binds.
    """

    def __init__(self, context: zmq.Context, directory: Path) -> None:
        """Read the folder.

        Raises:
            InputError: It holds no key, or a file that is none.
        """
        self._directory = directory
        self._read_from = _state(directory)  # First: what changes after it is read again.
        self._names = {load_public(file): file.stem for file in _files(directory)}
        if not self._names:
            raise InputError(
                f"{directory} holds no public key (*.key) of an actor; "
                "say which may connect with `journeyman keys authorise`."
            )
        self._look_s = time.monotonic()
        self._lines = Allowance(per_s=0.2, most=20)
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer one question."""
        version, request, _domain, address, _identity, mechanism, *credentials = self.socket.recv_multipart()
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" and len(credentials) == 1 else b""
        if key not in self._names:
            self._read()  # It may have been listed just now; ZeroMQ's clients do not ask twice.
        known = key in self._names
        status, text = (b"200", b"OK") if known else (b"400", b"unknown key")
        # The key becomes the connection's `User-Id`, which libzmq attaches to every message of it.
        self.socket.send_multipart([version, request, status, text, key if known else b"", b""])
        if key and not known and self._lines.take():
            log.warning(
                "Refused %s: its key %s is not listed.", address.decode(errors="replace"), fingerprint(key)
            )

    def owner(self, key: str) -> str | None:
        """Name of the key that a connection was let in with; None if it is not listed any more."""
        return self._names.get(key.encode())

    def names(self) -> set[str]:
        """All names listed."""
        return set(self._names.values())

    def refresh(self) -> None:
        """Read the folder again if it changed; a file that cannot be read lets nobody in.

        While nothing can be opened at all, as when strangers hold all descriptors, those who were listed stay.
        """
        now_s = time.monotonic()
        if now_s >= self._look_s + _LOOK_EVERY_S:
            self._look_s = now_s
            self._read()

    def _read(self) -> None:
        try:
            state = _state(self._directory)
            names = None if state == self._read_from else self._load()
        except OSError as error:
            if not is_storage_error(error):
                raise
            return  # It is looked again in a moment.
        if names is None:
            return
        self._read_from = state
        for name in sorted(set(names.values()) ^ self.names()):
            log.info("Key %r is %s.", name, "listed now" if name in names.values() else "not listed any more")
        self._names = names

    def _load(self) -> dict[bytes, str]:
        names = {}
        for file in _files(self._directory):
            try:
                names[load_public(file)] = file.stem
            except InputError as error:
                cause = error.__context__
                if isinstance(cause, OSError) and is_storage_error(cause):
                    raise cause from None
                log.warning("Nobody is let in by it: %s", error)
        return names


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*{PUBLIC}"))


def _state(directory: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Differs after every change of the folder's keys."""
    found = []
    for file in _files(directory):
        try:
            stat = file.stat()
            # Its size, too: one that was being written when it was looked at may be whole within the same tick.
            found.append((file.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:  # Removed just now.
            continue
    return tuple(found)
