"""A vision-language model as the reward: `reward=vlm reward.config.url=... reward.config.goal='the cube is lifted'`."""

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from controllers.config import InputError, read
from reward_models.payment import ProgressPayment
from reward_models.vlm.client import Image, VlmClient, VlmConfig, VlmError
from robot_env.contracts import Observation, Reward
from robot_env.env import RobotEnv
from robot_env.robot import RobotError, RobotUnavailableError
from robot_env.task import Task


class VlmRewardConfig(VlmConfig):
    """What is asked of whom, and what counts when there is no answer.

    Attributes:
        goal: What success looks like, in words: 'the cube is lifted from the table'.
        camera: Whose images are shown.
        ask: `done`, whether the goal is reached; `progress`, how much of the way is done, which is also paid for.
        done_from: With `progress`: so much of the way counts as yes.
        needed: So many answers in a row must be yes.
        wait: Whether a step waits for its answer. Only where time is simulated: a robot's control loop never waits, and
            is paid for the newest answer about this episode, whichever of its images that was about.
        on_failure: What follows `patience` questions in a row without a usable answer: `no_success` goes on as if the
            answer were no; `stop` parks the robot until the endpoint answers again.
        patience: See `on_failure`.
    """

    goal: str = ""
    camera: str = "front"
    ask: Literal["done", "progress"] = "done"
    done_from: float = 0.95
    needed: int = 2
    wait: bool = False
    on_failure: Literal["no_success", "stop"] = "stop"
    patience: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        super().__post_init__()
        if not self.goal.strip():
            raise ValueError("goal must say in words what success looks like")
        if self.needed < 1 or self.patience < 1:
            raise ValueError(f"needed {self.needed} and patience {self.patience} must be at least 1")
        if not 0.0 < self.done_from <= 1.0:
            raise ValueError(f"done_from {self.done_from} must lie in (0, 1]")


class VlmReward:
    """Pays the task's `reward.success` once the model has said yes. Implements `RestartedRewardModel`.

    Asked for progress, it pays that of the newest answer besides. Terms: `yes_in_a_row`, `answers` of this episode,
    `failures` of all, `progress`.

    Args:
        client: Is asked.
        task: Pays, and has the camera.
        config: What is asked.

    Raises:
        InputError: The task has no such camera, or its reward cannot be paid by such answers.
    """

    def __init__(self, client: VlmClient, task: Task, config: VlmRewardConfig) -> None:
        if config.camera not in task.cameras:
            raise InputError(
                f"reward.config.camera {config.camera!r} is no camera of task {task.name!r}, which has "
                f"{sorted(task.cameras)}: choose one of these, or add it to task.cameras."
            )
        if task.reward.kind != "sparse":
            raise InputError(
                f"task.reward.kind {task.reward.kind!r} is not what yes or no can pay: choose 'sparse'."
            )
        self._client = client
        self._reward = task.reward
        self._payment = ProgressPayment(task.reward) if config.ask == "progress" else None
        self._config = config
        self._changed = threading.Condition()
        # Guarded by it: the newest image that waits to be asked about, and what is known of this episode.
        self._waiting: tuple[int, Image] | None = None
        self._is_asking = False
        self._episode = 0
        self._yes_in_a_row = 0
        self._answers = 0
        self._progress = 0.0
        self._failures = self._failures_in_a_row = 0
        self._problem = ""
        self._worker: threading.Thread | None = None

    def restart(self) -> None:
        """Forget what was said of the last episode; answers that still come about it are dropped."""
        with self._changed:
            self._episode += 1
            self._waiting = None
            self._yes_in_a_row = self._answers = 0
            self._progress = 0.0

    def reward(self, observation: Observation) -> Reward:
        """Show the newest image, and pay for what has been said.

        Raises:
            RobotUnavailableError: There is no usable answer, and `on_failure` is `stop`.
            RobotError: The observation has no image of the camera.
        """
        image = observation.get(self._config.camera)
        if image is None or image.dtype != np.uint8 or image.ndim != 3:
            raise RobotError(
                f"The robot was stopped because there is no image of camera {self._config.camera!r} to judge by."
            )
        with self._changed:
            self._start()
            self._waiting = (self._episode, image.copy())
            self._changed.notify_all()
            if self._config.wait:
                self._changed.wait_for(lambda: self._waiting is None and not self._is_asking)
            self._heed_failures()
            success = self._yes_in_a_row >= self._config.needed
            terms = {
                "yes_in_a_row": float(self._yes_in_a_row),
                "answers": float(self._answers),
                "failures": float(self._failures),
                "progress": self._progress,
            }
        unfinished = self._reward.step if self._payment is None else self._payment(terms["progress"])
        return Reward(self._reward.success if success else unfinished, success, terms)

    def _heed_failures(self) -> None:
        if self._failures_in_a_row < self._config.patience:
            return
        if self._config.on_failure == "stop":
            raise RobotUnavailableError(f"Success cannot be judged: {self._problem}")

    def _start(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._ask_on, name="vlm-reward", daemon=True)
            self._worker.start()

    def _ask_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
            time.sleep(self._client.pause_s())
            with self._changed:
                if self._waiting is None:  # The episode ended meanwhile.
                    continue
                (episode, image), self._waiting = self._waiting, None
                self._is_asking = True
            progress, problem = 0.0, ""
            try:
                progress = self._ask(image)
            except VlmError as error:
                problem = str(error)
            except Exception as error:  # A thread that dies would leave the robot unjudged for ever.
                problem = f"{type(error).__name__}: {error}."
            with self._changed:
                self._is_asking = False
                self._note(episode, progress, problem)
                self._changed.notify_all()

    def _ask(self, image: Image) -> float:
        """How much is done, from 0 to 1."""
        if self._config.ask == "progress":
            return self._client.progress(self._config.goal, image)
        return float(self._client.is_done(self._config.goal, image))

    def _note(self, episode: int, progress: float, problem: str) -> None:
        if problem:
            self._failures += 1
            self._failures_in_a_row += 1
            if problem != self._problem:
                print(f"Success is not judged for now: {problem}", file=sys.stderr, flush=True)
            self._problem = problem
        else:
            self._failures_in_a_row, self._problem = 0, ""
        if episode == self._episode:
            self._answers += not problem
            self._yes_in_a_row = self._yes_in_a_row + 1 if progress >= self._config.done_from else 0
            self._progress = progress


def make_vlm_reward(env: RobotEnv, config: Mapping[str, Any]) -> VlmReward:
    """Factory named by `reward=vlm`.

    Raises:
        InputError: `config` is not a `VlmRewardConfig`, or does not fit the task.
    """
    chosen = read(VlmRewardConfig, config, "reward.config")
    return VlmReward(VlmClient(chosen), env.task, chosen)
