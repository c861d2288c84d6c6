"""Checkpoints: tensors as safetensors, everything else as JSON; written atomically, newest few and best kept."""

import json
import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised

from agent.config import InputError
from agent.storage import make_folder, sync, write_atomically, write_synced

FORMAT_VERSION = 1
Which = Literal["newest", "best"]
"""One of a run's checkpoints."""

_TENSORS, _POLICY, _VALUES = "state.safetensors", "policy.safetensors", "state.json"
_PARTIAL, _OLD, _GONE = ".partial", ".old", ".gone"
_BEST = "best.json"


class _Score(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation says of a policy, and which checkpoint is nearest to that policy.

    Attributes:
        success_rate: Deterministic; decides.
        mean_return: Decides between policies of the same success.
        policy_version: Of the policy that was evaluated: blocks of updates.
        environment_steps: Of the run, when it was evaluated.
        episodes: Of the evaluation.
        checkpoint: Name of the folder; empty while there is none.
        checkpoint_version: Policy version in there.
    """

    success_rate: float
    mean_return: float
    policy_version: int
    environment_steps: int
    episodes: int
    checkpoint: str = ""
    checkpoint_version: int = 0

    def beats(self, other: "_Score") -> bool:
        """Whether it is at least as good: of equal ones the newer is."""
        return (self.success_rate, self.mean_return) >= (other.success_rate, other.mean_return)


class Checkpoints:
    """The checkpoints of one run, one folder each, named by their number of environment steps.

    A folder appears under its final name only when it is complete and on disk, so a crash at any moment leaves
    the previous checkpoint as the newest, and so does a disk that takes no more.

    The best one is kept beside the newest few, and named in `best.json`: of all kept when the best evaluation came, and
    of those saved since, it is the one whose policy is nearest to the evaluated one.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self._folder = folder
        self._keep = keep
        self._unmarked: _Score | None = None  # The best, where the disk did not take that.
        self._put_back()

    def save(
        self,
        environment_steps: int,
        tensors: Mapping[str, torch.Tensor],
        policy: Mapping[str, torch.Tensor],
        values: Mapping[str, Any],
    ) -> Path:
        """Write a checkpoint and drop the oldest beyond `keep`, but not the best.

        Args:
            environment_steps: Names the checkpoint.
            tensors: What the learner needs to go on.
            policy: What acting needs; a file of its own, so that it can be deployed alone.
            values: Counters and random states, as JSON.

        Raises:
            OSError: The disk does not take it. Those that were there are as before, and nothing else is.
        """
        make_folder(self._folder)
        self._put_back()
        self._sweep()
        final = self._folder / f"{environment_steps:09d}"
        partial = self._folder / f".{final.name}{_PARTIAL}"
        content = {"format_version": FORMAT_VERSION, "environment_steps": environment_steps, **values}
        try:
            partial.mkdir()
            write_synced(partial / _TENSORS, serialised(dict(tensors)))
            write_synced(partial / _POLICY, serialised(dict(policy)))
            write_synced(partial / _VALUES, json.dumps(content, indent=1).encode())
            sync(partial)
            self._put_in_place(partial, final)
            sync(self._folder)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        with suppress(OSError):  # It is there; what can be tidied up next time is no reason to fail.
            self._mark_best(self._best())
            self._prune()
        return final

    def note_evaluation(self, report: Mapping[str, Any]) -> None:
        """Take in an actor's report; one of the best evaluation so far says which checkpoint is the best.

        Raises:
            OSError: The disk does not take it. It is written down with the next checkpoint.
        """
        if report.get("kind") != "evaluation":
            return
        try:
            score = msgspec.convert(report, _Score)
        except msgspec.ValidationError:
            return  # It is an actor's business what it reports.
        if not math.isfinite(score.success_rate) or not math.isfinite(score.mean_return):
            return
        best = self._best()
        if best is None or score.beats(best):
            self._mark_best(msgspec.structs.replace(score, checkpoint="", checkpoint_version=0))

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(p for p in self._folder.iterdir() if p.name.isdigit() and (p / _VALUES).is_file())

    def newest(self) -> Path | None:
        """The newest complete checkpoint."""
        paths = self.all()
        return paths[-1] if paths else None

    def best(self) -> Path | None:
        """The one that is nearest to the policy of the best evaluation; None without an evaluation."""
        best = self._best()
        path = self._folder / best.checkpoint if best is not None and best.checkpoint else None
        return path if path in self.all() else None

    def find(self, which: Which) -> Path | None:
        """One of them; None if there is none."""
        return self.best() if which == "best" else self.newest()

    def _best(self) -> _Score | None:
        if self._unmarked is not None:
            return self._unmarked
        try:
            return msgspec.json.decode((self._folder / _BEST).read_bytes(), type=_Score)
        except (OSError, msgspec.MsgspecError):
            return None  # Deleted, or a person's; the next good evaluation writes it anew.

    def _mark_best(self, best: _Score | None) -> None:
        """Write down which checkpoint is nearest to this policy."""
        if best is None:
            return
        versions = {path.name: v for path in self.all() if (v := _version(path)) is not None}
        marked = self._unmarked = best
        if versions:
            name = min(versions, key=lambda name: abs(versions[name] - best.policy_version))
            marked = msgspec.structs.replace(best, checkpoint=name, checkpoint_version=versions[name])
        make_folder(self._folder)
        write_atomically(self._folder / _BEST, msgspec.json.format(msgspec.json.encode(marked), indent=1))
        self._unmarked = None

    def _put_in_place(self, partial: Path, final: Path) -> None:
        if not final.exists():
            partial.rename(final)
            return
        # The same number of steps: after a resume, or a final save right after a periodic one.
        old = self._folder / f".{final.name}{_OLD}"
        final.rename(old)
        try:
            partial.rename(final)
        except OSError:
            old.rename(final)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def _prune(self) -> None:
        best = self.best()
        for path in self.all()[: -self._keep]:
            if path != best:
                # Half of a checkpoint must never look like one.
                gone = path.rename(self._folder / f".{path.name}{_GONE}")
                shutil.rmtree(gone, ignore_errors=True)

    def _put_back(self) -> None:
        """A process was killed, or a disk failed, between the two renames of a replacement."""
        for old in self._folder.glob(f".*{_OLD}"):
            final = self._folder / old.name.removeprefix(".").removesuffix(_OLD)
            if not final.exists():
                old.rename(final)

    def _sweep(self) -> None:
        """Remove what a process that was killed here left, or a disk that failed."""
        for suffix in (_PARTIAL, _OLD, _GONE):
            for leftover in self._folder.glob(f".*{suffix}"):
                shutil.rmtree(leftover)
        for leftover in self._folder.glob(f".{_BEST}.*"):
            leftover.unlink()


def _version(path: Path) -> int | None:
    """Policy version of a checkpoint; None of a damaged one."""
    try:
        return int(json.loads((path / _VALUES).read_text())["blocks"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
