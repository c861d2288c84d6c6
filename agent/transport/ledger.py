"""What a spool remembers beside its items: whose they are, and which of them the learner has."""

import errno
import os
import struct
from contextlib import suppress
from pathlib import Path

from agent.config import InputError
from agent.record_log import lock
from agent.storage import is_storage_error
from agent.transport.messages import IDENTITY_BYTES

_HEAD = struct.Struct(
    f"<{IDENTITY_BYTES}sQ"
)  # stream, acknowledged; the run's identity follows if there is one


class Ledger:
    """A file of a few bytes, locked by its owner, always written whole by one `write()`.

    It is overwritten in place, not replaced: that survives `kill -9` at any moment, works on a full disk,
    where acknowledgements are what frees space, and leaves the lock on the file.

    Attributes:
        stream: Identity of the numbering.
        acknowledged: The learner has all items below this number. After a loss of power it may be an older one.
        run_id: Identity of the run that the items belong to; empty while none is known.
    """

    def __init__(self, path: Path) -> None:
        """Open the ledger, or begin one.

        Raises:
            InputError: Another process uses it, or it is damaged.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.stream, self.acknowledged, self.run_id = b"", 0, b""
        self._is_behind = False  # What is on disk, behind `acknowledged`.
        try:
            lock(self._fd, path)
            if os.fstat(self._fd).st_size == 0:
                self._begin()
            else:
                self._read(path)
        except BaseException:
            self.close()
            raise

    def begin_stream(self, run_id: bytes) -> None:
        """Number from 0 on under a new identity, for this run."""
        self._write(os.urandom(IDENTITY_BYTES), 0, run_id)
        os.fsync(self._fd)

    def belong_to(self, run_id: bytes) -> None:
        """The items are this run's."""
        self._write(self.stream, self.acknowledged, run_id)
        os.fsync(self._fd)

    def acknowledge(self, sequence: int) -> None:
        """The learner has all items numbered lower than `sequence`.

        If the disk does not take it, the next process sends some of them again, which the learner recognises.
        """
        if sequence == self.acknowledged:
            return
        try:
            self._write(self.stream, sequence, self.run_id)
        except OSError as error:
            if not is_storage_error(error):
                raise
            self.acknowledged, self._is_behind = sequence, True

    def sync(self) -> None:
        """Make `acknowledged` survive a loss of power.

        Raises:
            OSError: The disk does not take it.
        """
        if self._is_behind:
            self._write(self.stream, self.acknowledged, self.run_id)
        os.fsync(self._fd)

    def close(self) -> None:
        """Release the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        try:
            self.begin_stream(b"")
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)  # Half an identity would be taken for a damaged one.
            raise

    def _write(self, stream: bytes, acknowledged: int, run_id: bytes) -> None:
        content = _HEAD.pack(stream, acknowledged) + run_id
        if os.pwrite(self._fd, content, 0) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.stream, self.acknowledged, self.run_id = stream, acknowledged, run_id
        self._is_behind = False

    def _read(self, path: Path) -> None:
        content = os.pread(self._fd, _HEAD.size + IDENTITY_BYTES + 1, 0)
        self.stream, self.acknowledged, self.run_id = _decode(content, path)


def look_into(path: Path) -> tuple[bytes, int]:
    """Stream and number of a ledger that another process may be using.

    Raises:
        InputError: It is damaged.
    """
    stream, acknowledged, _ = _decode(path.read_bytes(), path)
    return stream, acknowledged


def _decode(content: bytes, path: Path) -> tuple[bytes, int, bytes]:
    if len(content) not in (_HEAD.size, _HEAD.size + IDENTITY_BYTES):
        raise InputError(
            f"{path} does not hold the identity of a spool; "
            f"remove {path.parent} to give up what was not yet sent, and start again."
        )
    stream, acknowledged = _HEAD.unpack_from(content)
    return stream, acknowledged, content[_HEAD.size :]
