"""Tells a person that a run's disk fills up, where learner and actor cannot: their logs are on it."""

import os
import time
from pathlib import Path

_LOOK_EVERY_S = 5.0
_LEAST_SPARE_BYTES = 10 << 20  # Of a checkpoint and of reports; less is no room, whatever actors may take.


class DiskWatch:
    """Looks at the disk of a run now and then; says once that it is full or read-only, and once that it is well again.

    Args:
        folder: On the disk.
        spare_bytes: Below that, or below 10 MB, it is as good as full.
    """

    def __init__(self, folder: Path, spare_bytes: int) -> None:
        self._folder = folder
        self._spare_bytes = max(spare_bytes, _LEAST_SPARE_BYTES)
        self._look_s = 0.0
        self._trouble = ""

    def news(self) -> str | None:
        """A sentence, if there is something new to say."""
        now_s = time.monotonic()
        if now_s < self._look_s:
            return None
        self._look_s = now_s + _LOOK_EVERY_S
        trouble = self._look()
        if trouble == self._trouble:
            return None
        self._trouble, before = trouble, self._trouble
        if not trouble:
            return f"The disk of {self._folder} takes everything again."
        then = "the robot is parked, and what cannot be written is told in logs/ and written later"
        return (
            None if before else f"The disk of {self._folder} {trouble}: where it takes nothing more, {then}."
        )

    def _look(self) -> str:
        try:
            disk = os.statvfs(self._folder)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if disk.f_flag & os.ST_RDONLY:
            return "is read-only"
        free = disk.f_bavail * disk.f_frsize
        enough = self._spare_bytes * (1.25 if self._trouble else 1.0)
        return f"has less than {self._spare_bytes / 1e6:.0f} MB left" if free < enough else ""
