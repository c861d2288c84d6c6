"""Wake a thread that polls sockets, from any other thread."""

import os
from contextlib import suppress


class Waker:
    """A pipe to poll beside sockets; waking an awake thread costs no system call."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._signalled = False

    def fileno(self) -> int:
        """Readable after `wake`."""
        return self._reader

    def wake(self) -> None:
        """Make the polling thread look at its work."""
        if not self._signalled:
            self._signalled = True
            os.write(self._writer, b"w")

    def clear(self) -> None:
        """Called by the polling thread *before* it looks at its work, so that no work slips in between."""
        with suppress(BlockingIOError):
            os.read(self._reader, 64)
        self._signalled = False

    def close(self) -> None:
        """Release the pipe, once nobody wakes or polls any more."""
        os.close(self._reader)
        os.close(self._writer)
