"""Small files that are whole or not there."""

from pathlib import Path

from agent.storage import write_atomically


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, force it to disk, and rename.

    Raises:
        OSError: It cannot be written.
    """
    write_atomically(path, content)
