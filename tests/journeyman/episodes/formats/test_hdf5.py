"""HDF5 files that are made to exhaust memory or time, or to read other files."""

import h5py
import numpy as np
import pytest

from controllers.config import InputError
from journeyman.episodes.formats.hdf5 import Hdf5File


def large_under_many_names(file, _folder):
    """A megabyte of a file that is never written, a thousand times."""
    file["noise"] = np.random.default_rng(0).integers(0, 256, 1000, np.uint8)
    claims = file.create_dataset("x", (1 << 20,), np.uint8, chunks=(1 << 16,), compression="gzip")
    for number in range(1000):
        file[f"x{number}"] = claims


def more_ways_than_rooms(file, _folder):
    """Ten doors out of each of fourteen rooms, all into the next one: 10 ** 14 ways."""
    room = file.create_group("room")
    for depth in range(14):
        following = file.create_group(f"rooms/{depth}")
        for number in range(10):
            room[f"door{number}"] = following
        room = following
    del file["rooms"]


def link_to_another_file(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.arange(3)
    file["x"] = h5py.ExternalLink("other.h5", "/secret")


def bytes_of_another_file(file, folder):
    (folder / "secret").write_bytes(b"abcd")
    file.create_dataset("x", (4,), np.uint8, external=[(str(folder / "secret"), 0, 4)])


def view_of_another_file(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.arange(3)
    layout = h5py.VirtualLayout((3,), np.int64)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "secret", (3,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (large_under_many_names, "more than were ever written"),
        (more_ways_than_rooms, "more than were ever written"),
        (link_to_another_file, "x is in another file"),
        (bytes_of_another_file, "x is in another file"),
        (view_of_another_file, "x is in another file"),
    ],
)
def test_what_no_recording_holds_is_refused_soon(tmp_path, make, why):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    with Hdf5File(path) as file, pytest.raises(InputError, match=why):
        file.tree("/")


def test_many_small_groups_are_read(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        for number in range(300):
            file[f"g{number}/x"] = np.arange(number % 3)
        file.create_dataset("zeros", data=np.zeros(10**7, np.uint8), compression="gzip", chunks=(10**5,))
    with Hdf5File(path) as file:
        tree = file.tree("/")
        assert len(file.tree("/").groups) == len(tree.groups) == 300
    assert tree.arrays["zeros"].sum() == 0
