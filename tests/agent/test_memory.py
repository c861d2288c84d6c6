"""Freed memory: whether the next block of the same size is a new one for the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from agent.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def make_and_free():
    blocks = [b"x" * 30_000_000 for _ in range(3)]
make_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    make_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(argument):
    """Of making and freeing 90 MB five times, in a process of its own: what it chooses holds for good."""
    command = [sys.executable, "-c", PROGRAM, argument]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_was_freed_is_used_again():
    # Pages have 4 kB, or 2 MB where the system makes them so.
    assert page_faults("keep") * 20 < page_faults("leave")
