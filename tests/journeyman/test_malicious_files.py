"""Files that would run a program if they were trusted: nothing runs, and one clear sentence says what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from agent.backbones import ConvBackbone, load_backbone
from agent.checkpoint import Checkpoints, load_checkpoint, load_policy
from agent.record_log import RecordLog
from agent.transport.curve import load_public, load_secret
from journeyman.cli import main
from journeyman.config import read_config
from journeyman.run_directory import RunDirectory
from reward_models.success_classifier.classifier import load_classifier
from robot_env.episodes import read_episode
from robot_env.task import load_task


class Bomb:
    """Pickled, it is a call of `os.system`."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {self.flag}",)


def pickled(flag: Path) -> bytes:
    """The same as a pickle of the oldest protocol, by hand."""
    return f"cos\nsystem\n(Vtouch {flag}\ntR.".encode()


def torch_file(flag: Path) -> bytes:
    """What `torch.save` makes of it."""
    path = flag.with_name("made.pt")
    torch.save({"layers.0.weight": Bomb(flag)}, path)
    return path.read_bytes()


def numpy_file(flag: Path) -> bytes:
    """An array of objects, in numpy's own format for several arrays."""
    path = flag.with_name("made.npz")
    np.savez(path, observations=np.array([Bomb(flag)], dtype=object), actions=np.zeros((1, 2)))
    return path.read_bytes()


def yaml_file(flag: Path) -> bytes:
    """YAML that calls a function when an unsafe loader reads it."""
    return f"name: !!python/object/apply:os.system ['touch {flag}']\n".encode()


def hdf5_file(flag: Path) -> bytes:
    """A data set in D4RL's layout whose observations are pickles, as opaque data marked as such."""
    path = flag.with_name("made.hdf5")
    with h5py.File(path, "w") as file:
        opaque = np.array([pickled(flag)], dtype=np.dtype("V100"))
        file.create_dataset("observations", data=opaque.astype(h5py.opaque_dtype(np.dtype("V100"))))
        file["observations"].attrs["pickled"] = True
        file.create_dataset("actions", data=np.array([pickled(flag)], dtype=h5py.string_dtype()))
        for name in ("rewards", "terminals", "timeouts"):
            file.create_dataset(name, data=np.zeros(1))
    return path.read_bytes()


def checkpoint(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Put the file into a checkpoint that is whole otherwise."""

    def read_it(path: Path) -> object:
        tensors = {"x": torch.zeros(2)}
        folder = Checkpoints(path.parent / "checkpoints").save(1, tensors, tensors, {})
        for name in ("state.safetensors", "policy.safetensors"):
            shutil.copy(path, folder / name)
        return read(folder)

    return read_it


def run_directory(path: Path) -> object:
    folder = path.parent / "run"
    folder.mkdir()
    (folder / "versions.json").write_text(json.dumps({"format_version": 1}))
    shutil.copy(path, folder / "config.yaml")
    return RunDirectory.open(folder, [])


def convert(path: Path, *words: str) -> int:
    return main(["episodes", "convert", str(path), str(path.parent / "there"), *words])


BOMBS = [pickled, torch_file, numpy_file, yaml_file, hdf5_file]
READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint.safetensors": checkpoint(load_checkpoint),
    "policy.safetensors": checkpoint(load_policy),
    "encoder.safetensors": lambda path: load_backbone(ConvBackbone([4]), path),
    "encoder.pt": lambda path: load_backbone(ConvBackbone([4]), path),
    "classifier.safetensors": load_classifier,
    "classifier.pt": load_classifier,
    "serl.pkl": lambda path: convert(path, "from=serl", "to=mcap", "control_rate_hz=10"),
    "robomimic.hdf5": lambda path: convert(path, "from=robomimic", "to=mcap"),
    "d4rl.hdf5": lambda path: main(["data", "check", str(path)]),
    "episode.mcap": read_episode,
    "config.yaml": lambda path: read_config(path),
    "run/config.yaml": run_directory,
    "task.yaml": load_task,
    "replay.log": lambda path: RecordLog.open(path, np.dtype([("x", np.float32)])),
    "actor.key": load_public,
    "actor.key_secret": load_secret,
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", READERS)
def test_nothing_runs_and_one_sentence_says_what_is_wrong(name, bomb, tmp_path, capsys):
    flag = tmp_path / "ran"
    content = bomb(flag)
    assert not flag.exists(), "making it must not run it"
    path = tmp_path / "given" / name.replace("/", "_")
    path.parent.mkdir()
    path.write_bytes(content)
    try:
        code = READERS[name](path)
    except ValueError as error:
        code, said = getattr(error, "exit_code", None), str(error)
    else:
        said = capsys.readouterr().err.strip()
    assert code == 2, f"{path} was accepted, or refused without a sentence: {said}"
    assert not flag.exists(), f"{path} was run"
    assert str(path.parent) in said
    assert len(said.splitlines()) == 1
    assert len(said) < 1000


def test_the_bombs_are_live(tmp_path):
    """Else nothing is tested: Python's own readers would run each."""
    import yaml

    for number, (bomb, read) in enumerate(
        [
            (torch_file, lambda path: torch.load(path, weights_only=False)),
            (numpy_file, lambda path: np.load(path, allow_pickle=True)["observations"]),
            (yaml_file, lambda path: yaml.unsafe_load(path.read_text())),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        flag = folder / "ran"
        (folder / "file").write_bytes(bomb(flag))
        read(folder / "file")
        assert flag.exists()
