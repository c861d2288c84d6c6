"""Checkpoints: tensors as safetensors, everything else as JSON; written atomically, newest few kept."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agent.config import InputError

FORMAT_VERSION = 1
_TENSORS, _POLICY, _VALUES = "state.safetensors", "policy.safetensors", "state.json"
_PARTIAL, _OLD = ".partial", ".old"


class Checkpoints:
    """The checkpoints of one run, one folder each, named by their number of environment steps.

    A folder appears under its final name only when it is complete and on disk, so a crash at any moment leaves
    the previous checkpoint as the newest.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self._folder = folder
        self._keep = keep
        # A process was killed between the two renames of a replacement: put the old one back.
        for old in folder.glob(f".*{_OLD}"):
            final = folder / old.name.removeprefix(".").removesuffix(_OLD)
            if not final.exists():
                old.rename(final)

    def save(
        self,
        environment_steps: int,
        tensors: Mapping[str, torch.Tensor],
        policy: Mapping[str, torch.Tensor],
        values: Mapping[str, Any],
    ) -> Path:
        """Write a checkpoint and drop the oldest beyond `keep`.

        Args:
            environment_steps: Names the checkpoint.
            tensors: What the learner needs to go on.
            policy: What acting needs; a file of its own, so that it can be deployed alone.
            values: Counters and random states, as JSON.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in (*self._folder.glob(f".*{_PARTIAL}"), *self._folder.glob(f".*{_OLD}")):
            shutil.rmtree(leftover)  # Of a process that was killed here.
        final = self._folder / f"{environment_steps:09d}"
        partial = self._folder / f".{final.name}{_PARTIAL}"
        partial.mkdir()
        save_file(dict(tensors), partial / _TENSORS)
        save_file(dict(policy), partial / _POLICY)
        content = {"format_version": FORMAT_VERSION, "environment_steps": environment_steps, **values}
        (partial / _VALUES).write_text(json.dumps(content, indent=1))
        for name in (_TENSORS, _POLICY, _VALUES):
            sync(partial / name)
        sync(partial)
        if (
            final.exists()
        ):  # The same number of steps: after a resume, or a final save right after a periodic one.
            old = self._folder / f".{final.name}{_OLD}"
            final.rename(old)
            partial.rename(final)
            shutil.rmtree(old)
        else:
            partial.rename(final)
        sync(self._folder)
        for path in self.all()[: -self._keep]:
            shutil.rmtree(path)
        return final

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(p for p in self._folder.iterdir() if p.name.isdigit() and (p / _VALUES).is_file())

    def newest(self) -> Path | None:
        """The newest complete checkpoint."""
        paths = self.all()
        return paths[-1] if paths else None


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What the learner needs to go on: tensors and values as they were given to `Checkpoints.save`.

    Raises:
        InputError: It is missing, damaged or of another version.
    """
    return _load(path, _TENSORS)


def load_policy(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What acting needs: policy weights, and the checkpoint's values.

    Raises:
        InputError: It is missing, damaged or of another version.
    """
    return _load(path, _POLICY)


def _load(path: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        values = json.loads((path / _VALUES).read_text())
        if not isinstance(values, dict):
            raise ValueError(f"{_VALUES} holds no object")
        tensors = load_file(path / name)
    except FileNotFoundError:
        raise InputError(f"{path} is not a checkpoint: it needs {_VALUES} and {name}.") from None
    except (
        ValueError,
        RecursionError,
        SafetensorError,
    ) as error:  # Of JSON, of text, of numbers without end.
        reason = " ".join(str(error).split())
        raise InputError(
            f"Checkpoint {path} is damaged ({reason}); remove that folder to go on from the one before."
        ) from None
    if values.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"Checkpoint {path} has format version {values.get('format_version')}, this program reads "
            f"{FORMAT_VERSION}; use the version of journeyman that wrote it."
        )
    return tensors, values


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
