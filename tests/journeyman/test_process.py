"""What a process asks of the operating system."""

import resource
import subprocess
import sys

import pytest

FEW = 256

SCRIPT = """
import resource
from journeyman.process import take_descriptors
take_descriptors()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize("soft", [FEW, None])
def test_a_process_takes_room_for_many_connections_and_never_gives_any_back(soft):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft or hard, hard))

    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, preexec_fn=limit
    )
    now, still = map(int, said.stdout.split())
    assert still == hard
    assert now == (hard if soft is None else min(hard, 1 << 14) if hard > 0 else 1 << 14)
