"""A learner in several processes as a person starts it, with torchrun; and what it is not started with."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from agent.config import InputError
from agent.parallel.ranks import Place
from journeyman.config import compose
from journeyman.run_directory import RunDirectory
from journeyman.several_processes import check_processes, refuse_to_begin_again

ROOT = Path(__file__).parents[2]
ENDLESS = (
    "task=reach", "algorithm=bc", "demonstrations.episodes=2", "learner.max_environment_steps=0",
    "learner.checkpoint_every=20", "algorithm.config.offline_updates=10000000", "algorithm.config.batch_size=8",
    "algorithm.config.hidden_sizes=[8,8]",
)  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("algorithm=calql",), "algorithm=calql learns in one process"),
        (("learner.sampling.kind=prioritised",), "choose uniform"),
        (("task=relocate", "practice=forward_backward"), "choose practice=none"),
        (("learner.device=cuda:1",), "each of 2 processes takes its own"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(overrides, said):
    words = overrides if overrides[0].startswith("task=") else ("task=reach", *overrides)
    config = compose(words)
    check_processes(config, 1)
    with pytest.raises(InputError, match=said):
        check_processes(config, 2)


def test_what_torchrun_starts_again_must_go_on_with_its_run(monkeypatch):
    here = Place(0, 2, 0)
    refuse_to_begin_again(here, resumes=False)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    refuse_to_begin_again(here, resumes=True)
    refuse_to_begin_again(Place(), resumes=False)
    with pytest.raises(InputError, match="run=DIR"):
        refuse_to_begin_again(here, resumes=False)


def start(folder, *words):
    """Two processes; everything they say goes to one pipe."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *torchrun, "-m", "journeyman", "learner", *words]
    return subprocess.Popen(
        [*command, f"transport.address=ipc://{folder}/learner"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def second_of(torchrun):
    """Process id of rank 1."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = re.search(r"PPid:\s+(\d+)", (path / "status").read_text())[1]
            if int(parent) == torchrun.pid and b"\0RANK=1\0" in (path / "environ").read_bytes():
                return int(path.name)
    raise AssertionError("there is no rank 1")


@pytest.mark.slow
@pytest.mark.soak
def test_without_one_of_its_processes_a_learner_ends_and_a_run_goes_on(tmp_path, wait_until):
    def checkpoints():
        return sorted((tmp_path / "runs/latest/checkpoints").glob("*/state.json"))

    def saved():
        return checkpoints()[-1].stat().st_mtime_ns

    process = start(tmp_path, *ENDLESS)
    try:
        wait_until(checkpoints, 600.0, "a checkpoint")
        os.kill(second_of(process), signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 1
        assert "Another process of this learner has ended or is stuck" in output
        before = saved()
        process = start(tmp_path, "run=runs/latest")
        wait_until(lambda: saved() > before, 600.0, "a newer checkpoint")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=600)
        assert "Stopped at 0 environment steps" in output
    finally:
        process.terminate()  # It ends those that it started.
        process.wait(120)
    assert RunDirectory((tmp_path / "runs/latest").resolve()).checkpoints().newest() is not None
