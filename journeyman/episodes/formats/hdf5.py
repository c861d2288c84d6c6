"""HDF5 files as plain trees of arrays, read with distrust and written with checksums."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journeyman.episodes.formats.libraries import library, refusing

MAGIC = b"\x89HDF\r\n\x1a\n"
# gzip makes data at most about a thousand times smaller: what claims to be larger was never written, or is there under
# many names. A group or array takes some hundreds of bytes besides; groups may also be within themselves.
_LARGEST_RATIO = 1100
_BYTES_OF_ONE = 4096
_DEEPEST = 16


@dataclass
class Tree:
    """A group: its attributes, its arrays by name, its groups by name."""

    attributes: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    groups: dict[str, "Tree"] = field(default_factory=dict)


class Hdf5File:
    """An open file. Whatever the library raises on damaged data, the caller sees as an InputError."""

    def __init__(self, path: Path) -> None:
        """Open for reading.

        Raises:
            InputError: It is none, or damaged.
        """
        self._path = path
        with refusing(path, "the file"):
            self._file = library("h5py").File(path, "r")
            self._bound = _LARGEST_RATIO * path.stat().st_size

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def names(self, group: str) -> list[str]:
        """Names in a group.

        Raises:
            InputError: It cannot be read.
        """
        with refusing(self._path, group):
            return list(self._file[group])

    def attributes(self, group: str) -> dict[str, Any]:
        """Attributes of a group.

        Raises:
            InputError: It cannot be read.
        """
        with refusing(self._path, group):
            return dict(self._file[group].attrs)

    def tree(self, group: str, only: Collection[str] | None = None) -> Tree:
        """Everything in a group.

        Args:
            group: Its name.
            only: What of it is read, by name; all if None.

        Raises:
            InputError: It cannot be read.
        """
        with refusing(self._path, group):
            self._left = self._bound
            return self._tree(self._file[group], 0, only)

    def _tree(self, group: Any, depth: int, only: Collection[str] | None = None) -> Tree:
        if depth > _DEEPEST:
            raise ValueError("groups within groups without end")
        tree = Tree(attributes=dict(group.attrs))
        for name in group:
            if only is not None and name not in only:
                continue
            if type(group.get(name, getlink=True)).__name__ == "ExternalLink":
                raise ValueError(f"{name} is in another file")
            item = group[name]
            if hasattr(item, "keys"):
                self._allow(name, 0)
                tree.groups[name] = self._tree(item, depth + 1)
            else:
                self._allow(name, item.nbytes)
                if item.is_virtual or item.external:
                    raise ValueError(f"{name} is in another file")
                tree.arrays[name] = np.asarray(item[()])
        return tree

    def _allow(self, name: str, size: int) -> None:
        """Take what is about to be read off what a file of this length can hold."""
        self._left -= size + _BYTES_OF_ONE
        if self._left < 0:
            raise ValueError(f"{name} claims {size} bytes, and all so far more than were ever written")


def write_arrays(group: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays into an h5py group, one chunk per image, compressed and with a checksum per chunk."""
    for name, values in arrays.items():
        if values.dtype.kind == "U":
            values = np.char.encode(values, "utf-8")
        if values.size == 0:
            group.create_dataset(name, data=values)
            continue
        chunks = (1, *values.shape[1:]) if values.ndim == 4 else True
        group.create_dataset(
            name, data=values, chunks=chunks, compression="gzip", shuffle=True, fletcher32=True
        )


def text_of(value: Any) -> str | None:
    """An attribute or entry that should be text; None if it is none."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value if isinstance(value, str) else None


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether a file begins with these bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
