"""Small files that are whole or not there."""

from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, and rename.

    Raises:
        OSError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
