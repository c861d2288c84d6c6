"""A person records episodes: the robot waits for the hand, the hand judges, and nothing that was finished is lost."""

import itertools
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from journeyman.collect_options import CollectOptions
from journeyman.config import RunConfig
from journeyman.process import raise_interrupt
from journeyman.recording import episode_metadata, episode_path, make_folder, missing_numbers, recorded_steps
from journeyman.session_view import Phase, Picture, SessionView
from journeyman.wiring import at_the_pace_of_a_hand, judged_by_task, make_env, make_teleoperator
from robot_env.assisted_env import AssistedEnv
from robot_env.clock import Rate
from robot_env.contracts import Camera, Observation
from robot_env.devices.window import WINDOW, Window
from robot_env.env import RobotEnv
from robot_env.episode_writer import EpisodeWriter
from robot_env.episodes import list_episodes
from robot_env.program import when_signalled
from robot_env.realtime import prefer_control_loop
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import VERDICTS, Event, ExplainedTeleoperator
from sim.cameras import spectator_cameras
from sim.scene import TwinScene

FAILURES = "failures"
UNDONE = "undone"
_RETRY_S = 1.0
_LOOK_S = 0.1


def record_by_hand(config: RunConfig, folder: Path, episodes: int, options: CollectOptions) -> None:
    """Record until `folder` holds `episodes`, or the person quits; what is there counts.

    Raises:
        InputError: The folder cannot be written, or robot or device cannot be used.
        RobotError: The robot needs a human.
    """
    make_folder(folder)
    if not missing_numbers(folder, episodes):
        return
    when_signalled(raise_interrupt)
    is_real = not config.robot.simulated_time
    task = msgspec.structs.replace(config.task, episode_length_s=options.time_limit_s)
    config = at_the_pace_of_a_hand(msgspec.structs.replace(judged_by_task(config), task=task))
    robot_env = make_env(config)
    teleoperator = make_teleoperator(config, robot_env)
    assert teleoperator is not None  # Whoever calls this has chosen one.
    env = AssistedEnv(robot_env, teleoperator)
    view = SessionView(
        f"{config.task.name} on {config.robot.name} by {config.device.name}",
        teleoperator.help if isinstance(teleoperator, ExplainedTeleoperator) else {},
        options.view in ("auto", "terminal"),
        options.time_limit_s,
    )
    if is_real:
        prefer_control_loop()
    window = WINDOW if options.view == "window" else None
    try:
        if window is not None:
            window.open()
        teleoperator.connect()
        with view:
            Session(env, config, folder, episodes, options, view, _spectators(robot_env), window).run()
    finally:
        if window is not None:
            window.close()
        env.close()


class Session:
    """The order of things: reset, wait for the hand, record until the episode ends, keep what it became.

    Args:
        env: Robot and device.
        config: Of the recording.
        folder: Of the episodes.
        wanted: So many are wanted in it.
        options: See there.
        view: Shows it.
        spectators: Cameras for a person where the task has none.
        window: Shows pictures as well.
    """

    def __init__(
        self,
        env: AssistedEnv,
        config: RunConfig,
        folder: Path,
        wanted: int,
        options: CollectOptions,
        view: SessionView,
        spectators: Mapping[str, Camera],
        window: Window | None = None,
    ) -> None:
        self._env = env
        self._config = config
        self._folder = folder
        self._wanted = wanted
        self._options = options
        self._view = view
        self._counts: Counter[str] = Counter()
        self._last = self._message = self._noticed = ""
        self._window = window
        self._spectators = spectators
        self._next_spectator = itertools.cycle(spectators)
        self._seen: dict[str, NDArray[np.uint8]] = {}
        self._quits = False

    def run(self) -> None:
        """Record until the set is complete or the person quits."""
        while not self._quits and missing_numbers(self._folder, self._wanted):
            try:
                self._episode()
            except RobotUnavailableError as error:
                self._wait_until_available(str(error))
        self._message = ""
        self._show(Phase.ENDED)

    def _episode(self) -> None:
        self._show(Phase.RESETTING)
        seed = int(np.random.default_rng().integers(2**31))
        _, info = self._env.reset(seed=seed)
        self._heed(info["events"])
        observation = self._wait_for_hand()
        # Only now: an undo may have freed another.
        missing = missing_numbers(self._folder, self._wanted)
        if observation is None or not missing:
            return
        metadata = episode_metadata(self._env.robot_env, self._config, seed)
        path = episode_path(self._folder, missing[0])
        writer = EpisodeWriter(path, **{**metadata, "operator": f"person with {self._config.device.name}"})
        try:
            self._record(writer, observation, path)
        finally:
            writer.discard()  # Does nothing to a finished one.

    def _wait_for_hand(self) -> Observation | None:
        """What is seen when a hand comes; None if the person quits."""
        rate = Rate(self._env.robot_env.robot.clock, self._config.task.control_rate_hz)
        while not self._quits:
            observation, is_on, events = self._env.wait_for_hand()
            self._heed(events)
            if is_on:
                return observation
            self._look(observation)
            self._notice()
            self._show(Phase.WAITING)
            rate.wait()
        return None

    def _notice(self) -> None:
        """Show what is wrong with the device for as long as it is."""
        teleoperator = self._env.teleoperator
        notice = teleoperator.notice if isinstance(teleoperator, ExplainedTeleoperator) else ""
        if notice or self._message == self._noticed:
            self._message = notice
        self._noticed = notice

    def _record(self, writer: EpisodeWriter, observation: Observation, path: Path) -> None:
        self._message = ""
        step, success, begin_s = 0, False, time.monotonic()
        for seen, info in recorded_steps(self._env, writer, observation, by_person=True):
            step, success = step + 1, bool(info["success"])
            if self._is_given_up(info["events"]):
                self._count("discarded", f"discarded after {step} steps")
                return
            self._look(seen)
            self._show(Phase.RECORDING, step, time.monotonic() - begin_s)
        path = path if success or self._options.keep_failures else self._failure_path()
        writer.finish(success, path)
        outcome = "success" if success else "failure"
        name = path.relative_to(self._folder)
        self._count(outcome, f"{name}: {outcome} in {step} steps, {time.monotonic() - begin_s:.1f} s")

    def _is_given_up(self, events: tuple[Event, ...]) -> bool:
        self._quits = self._quits or Event.QUIT in events
        if Event.UNDO in events:
            self._message = "Finish or discard this episode before you undo the one before."
        return self._quits or Event.DISCARD in events

    def _heed(self, events: tuple[Event, ...]) -> None:
        """What was said between two episodes."""
        for event in events:
            if event is Event.QUIT:
                self._quits = True
            elif event is Event.UNDO:
                self._undo()
            elif event in VERDICTS:
                self._message = "No episode is being recorded: undo takes the last one back."

    def _undo(self) -> None:
        """Take the newest episode out of the set; it is kept elsewhere."""
        newest = max(list_episodes(self._folder), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            self._message = "There is no episode to undo."
            return
        kept = _free(self._folder / UNDONE, newest.stem)
        newest.rename(kept)
        self._count("undone", f"{newest.name} is taken back; it is kept as {kept.relative_to(self._folder)}")

    def _failure_path(self) -> Path:
        return _free(self._folder / FAILURES, "failure")

    def _count(self, outcome: str, line: str) -> None:
        self._counts[outcome] += 1
        self._last, self._message = line, ""
        self._view.say(line)

    def _wait_until_available(self, reason: str) -> None:
        """Robot or device is gone: say so, and try again soon."""
        self._env.robot_env.robot.stop()
        if reason != self._message:
            self._view.say(f"Waiting: {reason}")
        self._message = reason
        for _ in range(round(_RETRY_S / _LOOK_S)):
            self._heed(self._env.teleoperator.get_events())
            if self._quits:
                return
            self._show(Phase.UNAVAILABLE)
            time.sleep(_LOOK_S)

    def _look(self, observation: Observation) -> None:
        """Remember what there is to see. A spectator's picture takes time: one camera in a step."""
        if self._options.view == "none":
            return
        cameras = self._config.task.cameras
        if cameras:
            self._seen |= {
                name: np.array(observation[name]) for name in cameras
            }  # Their memory is used again.
        elif self._spectators:
            name = next(self._next_spectator)
            self._seen[name] = self._spectators[name].read()

    def _show(self, phase: Phase, step: int = 0, elapsed_s: float = 0.0) -> None:
        kept = self._wanted - len(missing_numbers(self._folder, self._wanted))
        images = tuple(self._seen.values())
        if self._window is not None:
            self._window.show(images)
        self._view.show(
            Picture(
                phase,
                kept,
                self._wanted,
                dict(self._counts),
                elapsed_s,
                step,
                self._last,
                self._message,
                images,
            )
        )


def _spectators(env: RobotEnv) -> Mapping[str, Camera]:
    """A real arm is looked at; the twin is not there to be."""
    scene = env.scene
    if not isinstance(scene, TwinScene):
        return {}
    return spectator_cameras(scene.twin.model, scene.twin.data, env.task.action.gripper)


def _free(folder: Path, stem: str) -> Path:
    """A path in `folder` that nothing has."""
    folder.mkdir(exist_ok=True)
    number = len(list(folder.iterdir()))
    while (path := folder / f"{stem}-{number:04d}.mcap").exists():
        number += 1
    return path
