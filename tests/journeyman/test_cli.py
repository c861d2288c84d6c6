"""Wrong input at the command line: one clear sentence, exit code 2, no traceback, nothing half-written."""

import socket
import subprocess

import pytest
import torch

from journeyman.cli import main


def complaint(capsys, *arguments):
    code = main(arguments)
    output = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in output.err
    return output.err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "task=juggle"], ["juggle", "lift_cube", "reach"]),
        (["train", "robot=c3po"], ["c3po", "twin"]),
        (["train", "learner.speed=9"], ["learner.speed", "device"]),
        (["train", "algorithm.config.layernorm=true"], ["layernorm", "layer_norm"]),
        (["train", "task.scene_config.cube_colour=red"], ["cube_colour"]),
        (["train", "task.observation=[{name: cube_smell}]"], ["cube_smell", "cube_position"]),
        (["train", "task.scene=sim.tasks.nothing.Nothing"], ["sim.tasks.nothing.Nothing"]),
        (["train", "run=nowhere"], ["nowhere", "run directory"]),
        (["evaluate"], ["journeyman evaluate run="]),
        (["report", "run=nowhere"], ["nowhere"]),
        (["actor", "transport.address=tcp://example.org:1"], ["tcp://example.org:1", "keys"]),
        (["train", "demonstrations.folder=absent"], ["absent"]),
    ],
)
def test_wrong_input(capsys, tmp_path, arguments, expected):
    error = complaint(capsys, *arguments)
    for word in expected:
        assert word in error
    assert error.count("\n") == 1, error
    # Nothing half-written: no run begins before its input is known to be right.
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_asked_for_and_absent(capsys, tmp_path):
    error = complaint(capsys, "train", "learner.device=cuda")
    assert "'cuda'" in error
    assert "learner.device=cpu" in error
    assert not list(tmp_path.glob("runs/*"))


def test_port_in_use(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = complaint(
            capsys, "learner", "demonstrations.episodes=0", f"transport.address=tcp://127.0.0.1:{port}"
        )
    assert str(port) in error
    assert "another program uses it" in error


def test_a_run_directory_of_another_version(capsys, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/versions.json").write_text('{"format_version": 0, "journeyman": "0.0.1"}')
    error = complaint(capsys, "train", "run=old")
    assert "0.0.1" in error
    assert "format 0" in error


def test_unknown_verb():
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2


def test_the_module_is_the_command():
    import sys

    result = subprocess.run(
        [sys.executable, "-m", "journeyman", "--help"], capture_output=True, text=True, check=True
    )
    for verb in ("train", "actor", "learner", "collect", "evaluate", "report", "doctor"):
        assert verb in result.stdout
