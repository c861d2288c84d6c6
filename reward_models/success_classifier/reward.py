"""The classifier as a reward: `reward=classifier reward.config.model=FILE`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from controllers.config import Config, InputError, read
from reward_models.success_classifier.classifier import SuccessClassifier, load_classifier
from reward_models.votes import Votes
from robot_env.contracts import Observation, Reward
from robot_env.env import RobotEnv
from robot_env.robot import RobotError
from robot_env.task import RewardConfig


class ClassifierRewardConfig(Config):
    """Which classifier, and how sure it must be.

    Attributes:
        model: File that `journeyman reward fit` made.
        needed: K: so many of the last `window` frames must be successes, so that one wrong verdict pays nothing.
        window: N.
        threshold: Replaces the file's own; a probability.
    """

    model: str
    needed: int = 2
    window: int = 3
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse what never or always succeeds."""
        if not 1 <= self.needed <= self.window:
            raise ValueError(f"needed {self.needed} must lie between 1 and window {self.window}")
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold {self.threshold} must lie between 0 and 1")


class SuccessClassifierReward:
    """Pays the task's `reward.success` where the classifier sees success. Implements `RestartedRewardModel`.

    Terms: `probability` of success in this frame, `votes` (successes of the last frames), `novelty` (above 1 the
    picture is unlike those of the fit, and the verdict means little) and `novel_frames`, how many were, over all
    episodes.

    Args:
        classifier: Judges single frames.
        reward: Pays.
        state_names: Names of the entries of the observation's `state`.
        config: How sure it must be.

    Raises:
        InputError: A dense reward is asked for.
    """

    def __init__(
        self,
        classifier: SuccessClassifier,
        reward: RewardConfig,
        state_names: tuple[str, ...],
        config: ClassifierRewardConfig,
    ) -> None:
        if reward.kind != "sparse":
            raise InputError(
                f"task.reward.kind {reward.kind!r} is not what a classifier can pay: choose 'sparse'."
            )
        self._classifier = classifier
        self._reward = reward
        self._state_names = state_names
        self._threshold = classifier.card.threshold if config.threshold is None else config.threshold
        self._votes = Votes(config.needed, config.window)
        self._novel_in_a_row = 0
        self._window = config.window
        self._warned = False
        self.frames = 0
        self.novel_frames = 0

    def restart(self) -> None:
        """Forget the verdicts of the last episode."""
        self._votes.restart()
        self._novel_in_a_row = 0

    def reward(self, observation: Observation) -> Reward:
        """Judge the newest frames.

        Raises:
            RobotError: A camera is missing or of another size, or the verdict is not a number.
        """
        preprocessing = self._classifier.card.preprocessing
        batch = {name: np.asarray(value)[None] for name, value in observation.items()}
        try:
            _check_images(batch, preprocessing.cameras)
            judged = self._classifier.judge(preprocessing.prepare(batch, self._state_names))
        except InputError as error:
            raise RobotError(f"The robot was stopped because success cannot be judged. {error}") from None
        probability, novelty = judged.probability.item(), judged.novelty.item()
        if not np.isfinite((probability, novelty)).all():
            raise RobotError(
                "The robot was stopped because the success classifier's verdict is not a number: check the cameras, "
                "and fit it again if they work."
            )
        self._note_novelty(novelty)
        success = self._votes.add(probability > self._threshold)
        terms = {
            "probability": probability,
            "votes": float(self._votes.count),
            "novelty": novelty,
            "novel_frames": float(self.novel_frames),
        }
        return Reward(self._reward.success if success else self._reward.step, success, terms)

    def _note_novelty(self, novelty: float) -> None:
        """Count unfamiliar frames, and say it once when they come in a row."""
        self.frames += 1
        is_novel = novelty > 1.0
        self.novel_frames += is_novel
        self._novel_in_a_row = self._novel_in_a_row + 1 if is_novel else 0
        if self._novel_in_a_row >= self._window and not self._warned:
            self._warned = True
            print(
                f"The success classifier sees pictures unlike those it was fitted to (frame {self.frames}): has a "
                "camera, the light or the scene changed? Label such frames and fit again. Said once; counted as "
                "reward_terms.novel_frames.",
                file=sys.stderr,
                flush=True,
            )


def _check_images(batch: Mapping[str, Any], cameras: Mapping[str, Any]) -> None:
    for name in cameras:
        if name in batch and (batch[name].dtype != np.uint8 or batch[name].ndim != 4):
            raise InputError(
                f"Camera {name!r} gives {batch[name].dtype} of shape {list(batch[name].shape[1:])}; it must be uint8 "
                "of shape [height, width, 3]."
            )


def make_classifier_reward(env: RobotEnv, config: Mapping[str, Any]) -> SuccessClassifierReward:
    """Factory named by `reward=classifier`.

    Raises:
        InputError: The configuration does not fit, there is no such classifier, or it was fitted for other cameras.
    """
    if not config.get("model"):
        raise InputError(
            "reward=classifier needs reward.config.model=FILE; make one with `journeyman reward fit`."
        )
    chosen = read(ClassifierRewardConfig, config, "reward.config does not fit the classifier")
    classifier = load_classifier(Path(chosen.model))
    shapes = {name: (camera.height, camera.width, 3) for name, camera in env.task.cameras.items()}
    classifier.card.preprocessing.check_source(shapes, env.state_names, f"task {env.task.name!r}")
    return SuccessClassifierReward(classifier, env.task.reward, env.state_names, chosen)
