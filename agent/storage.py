"""Disks that are full, read-only or broken: told from other errors, said once, and left as they were.

What is on disk survives the death of its writer; only what was forced there (`sync`) survives a loss of power.
"""

import errno
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_OF_A_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE, errno.ENODEV}
    | {errno.EMFILE, errno.ENFILE}  # No disk's fault, but nothing can be opened either until others let go.
)


class StorageError(OSError):
    """Something that must be on disk before going on cannot be written; the message is one sentence."""


def is_storage_error(error: OSError) -> bool:
    """Whether a disk failed, which a person can mend while the program goes on; anything else is a defect."""
    return error.errno in _OF_A_DISK


def reason_of(error: OSError) -> str:
    """What is wrong with the disk, in words."""
    return os.strerror(error.errno) if error.errno else str(error)


class StorageTrouble:
    """Says once that something cannot be written, and once that it is written again. For one thread.

    Attributes:
        reason: What is wrong now, in words; None while all is well.

    Args:
        what: That is to be written, as the subject of a sentence.
        meanwhile: What happens until it is, as a sentence.
    """

    def __init__(self, what: str, meanwhile: str) -> None:
        self.reason: str | None = None
        self._what = what
        self._meanwhile = meanwhile

    def note(self, error: OSError) -> None:
        """Take in a failure.

        Raises:
            OSError: The error, if no disk is to blame.
        """
        if not is_storage_error(error):
            raise error
        if self.reason is None:
            log.warning("%s cannot be written (%s). %s", self._what, reason_of(error), self._meanwhile)
        self.reason = reason_of(error)

    def over(self) -> None:
        """It was written."""
        if self.reason is not None:
            self.reason = None
            log.warning("%s can be written again.", self._what)


def write_fully(descriptor: int, parts: Sequence[bytes | memoryview]) -> None:
    """Append to a file, in one `write()` wherever the disk takes it.

    Raises:
        OSError: Not all of it could be written; some of it may have been.
    """
    written, size = os.writev(descriptor, parts), sum(map(len, parts))
    if written == size:
        return
    # A disk that is nearly full takes a part, and says only at the next attempt what is wrong.
    rest = memoryview(b"".join(parts))[written:]
    while len(rest):
        try:
            written = os.write(descriptor, rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            said = f"only {size - len(rest)} of {size} bytes could be written; is the disk full?"
            raise OSError(error.errno, f"{reason_of(error)}: {said}") from None
        rest = rest[written:]


class Appender:
    """Appends to a file, each time all or nothing. For one thread.

    Of what the disk did not take whole, the part that it took is cut off: at once, or, where the disk is such that not
    even this can be done, before anything else is appended.

    Args:
        descriptor: Of the file, open to append; stays its owner's to close.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._torn_at: int | None = None

    def append(self, *parts: bytes | memoryview) -> None:
        """Write these, one after the other.

        Raises:
            OSError: Not all of it could be written; the file is, or will be, as it was.
        """
        if self._torn_at is not None:
            self.truncate(self._torn_at)
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            write_fully(self._descriptor, parts)
        except BaseException:
            self._torn_at = end
            with suppress(OSError):
                self.truncate(end)
            raise

    def truncate(self, end: int) -> None:
        """Leave what is before byte `end`."""
        os.ftruncate(self._descriptor, end)
        self._torn_at = None


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and force it to disk; what was there is overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_fully(descriptor, (content,))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file so that after a crash or a loss of power it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that a loss of power takes none of them with what is in there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        with suppress(PermissionError):  # One may make a folder where one may not look.
            sync(folder.parent)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
