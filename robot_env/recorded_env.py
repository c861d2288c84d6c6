"""Keeps every episode of an environment as an MCAP file, whoever acts."""

import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.contracts import Observation
from robot_env.env import RobotEnv
from robot_env.episode_writer import EpisodeWriter
from robot_env.teleoperator import Event

Action = NDArray[np.float32]
OnVerdict = Callable[[str, int, Event], None]

_LONGEST_QUEUE = 1000


class RecordedEnv(gymnasium.Wrapper[Observation, Action, Observation, Action]):
    """Writes `<prefix>-<number>.mcap` per episode, in a thread of its own: neither disk nor encoding delays the robot.

    An episode that is broken off ends there, without success. Episodes of the policy alone (`unaided`, see
    `AssistedEnv`) are not recorded. What cannot be written is said once, and the robot goes on.

    Args:
        env: A `RobotEnv`, or one in an `AssistedEnv`.
        folder: Is made when there is something for it; numbers go on from what is in it.
        prefix: Begins the names of the files.
        metadata: What `EpisodeWriter` wants to know besides path and seed.
        on_verdict: Is told what a person says: name of the file, number of the last observation, success or failure.
    """

    def __init__(
        self,
        env: gymnasium.Env[Observation, Action],
        folder: Path,
        prefix: str,
        metadata: Mapping[str, Any],
        on_verdict: OnVerdict = lambda _name, _step, _verdict: None,
    ) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, RobotEnv)
        self.robot_env = env.unwrapped
        self._folder, self._prefix = folder, prefix
        self._number = _next_number(folder, prefix)
        self._metadata = dict(metadata)
        self._on_verdict = on_verdict
        self._recorder = _Recorder()
        self._name = ""
        self._steps = 0
        self._episode: _Episode | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; see `RobotEnv`."""
        self._break_off()
        observation, info = self.env.reset(seed=seed, options=options)
        self._note_verdict(info)
        self._name = ""
        if not (options or {}).get("unaided", False):
            self._begin(observation, seed)
        return observation, info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Do one control period; see `RobotEnv`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._episode is not None:
            self._steps += 1
            self._recorder.step(
                self._episode,
                info["executed_action"],
                float(reward),
                _kept(observation),
                terminated,
                truncated,
                self.robot_env.state,
                intervened=bool(info.get("intervened", False)),
            )
            if terminated or truncated:
                self._recorder.finish(self._episode, bool(info["success"]))
                self._episode = None
                self._note_verdict(info)
        return observation, float(reward), terminated, truncated, info

    def close(self) -> None:
        """Stop the robot, and wait until everything is on disk."""
        self._break_off()
        self.env.close()
        self._recorder.close()

    def _begin(self, observation: Observation, seed: int | None) -> None:
        self._name = f"{self._prefix}-{self._number:06d}.mcap"
        self._number += 1
        self._steps = 0
        path, metadata = self._folder / self._name, {**self._metadata, "seed": seed}
        self._episode = self._recorder.start(path, metadata, _kept(observation), self.robot_env.state)

    def _break_off(self) -> None:
        if self._episode is not None:
            self._recorder.finish(self._episode, success=False)
            self._episode = None

    def _note_verdict(self, info: dict[str, Any]) -> None:
        verdict = info.get("verdict")
        if verdict is not None and self._name and self._steps:
            self._on_verdict(self._name, self._steps, verdict)


@dataclass
class _Episode:
    """One that is being recorded; `broken` once something of it could not be taken in or written."""

    writer: EpisodeWriter | None = None
    steps: int = 0
    broken: bool = False

    def start(self, path: Path, metadata: dict[str, Any], *seen: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = EpisodeWriter(path, **metadata)
        self.writer.start(*seen)

    def step(self, *step: Any, intervened: bool) -> None:
        assert self.writer is not None
        self.writer.step(*step, intervened=intervened)

    def finish(self, success: bool) -> None:
        assert self.writer is not None
        if self.steps:
            self.writer.finish(success)
        else:
            self.writer.discard()

    def discard(self) -> None:
        if self.writer is not None:
            self.writer.discard()


class _Recorder:
    """Calls an `EpisodeWriter` in a thread of its own. Every method returns at once but `close`."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[_Episode, Callable[[], None]] | None] = queue.Queue(_LONGEST_QUEUE)
        self._complaints: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="episode-recorder", daemon=True)
        self._thread.start()

    def start(self, path: Path, metadata: dict[str, Any], *seen: Any) -> _Episode:
        """Begin an episode."""
        episode = _Episode()
        self._put(episode, lambda: episode.start(path, metadata, *seen))
        return episode

    def step(self, episode: _Episode, *step: Any, intervened: bool) -> None:
        """Add a step."""
        episode.steps += 1
        self._put(episode, lambda: episode.step(*step, intervened=intervened))

    def finish(self, episode: _Episode, success: bool) -> None:
        """End the episode; one without a step leaves nothing."""
        self._put(episode, lambda: episode.finish(success))

    def close(self) -> None:
        """Write what is left."""
        self._queue.put(None)
        self._thread.join()

    def _put(self, episode: _Episode, call: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait((episode, call))
        except queue.Full:
            # The robot does not wait for a disk that hangs.
            episode.broken = True

    def _run(self) -> None:
        while (queued := self._queue.get()) is not None:
            episode, call = queued
            try:
                if episode.broken:
                    episode.discard()
                else:
                    call()
            except (InputError, OSError) as error:
                episode.broken = True
                self._complain(str(error))
                with suppress(OSError):  # Half an episode would take the last of a full disk.
                    episode.discard()

    def _complain(self, reason: str) -> None:
        """A full disk says the same of each episode."""
        words = re.sub(r"\d+", "", reason)
        if words not in self._complaints:
            self._complaints.add(words)
            with suppress(OSError):  # Where errors are written may be the full disk.
                print(f"An episode is not recorded: {reason}", file=sys.stderr, flush=True)


def _kept(observation: Observation) -> Observation:
    """Cameras may write the next frame into the same memory."""
    return {key: np.array(value) for key, value in observation.items()}


def _next_number(folder: Path, prefix: str) -> int:
    """Behind all that are there, finished or not."""
    pattern = re.compile(re.escape(prefix) + r"-(\d{6,})\.mcap(\..*)?")
    found = [int(match[1]) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))]
    return max(found, default=-1) + 1
