"""Rewards for coming nearer to where demonstrations end: what they have in common, however nearness is judged."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.transition import TransitionSpec
from controllers.config import Config, InputError, read
from reward_models.judged import STATE
from reward_models.payment import ProgressPayment
from reward_models.success_classifier.calibration import seldom_exceeded
from reward_models.votes import Votes
from robot_env.contracts import Observation, Reward
from robot_env.episode import Episode
from robot_env.robot import RobotError
from robot_env.task import RewardConfig

Array = NDArray[np.float64]
Observations = Mapping[str, NDArray[Any]]
"""N observations by name, each of shape (N, ...)."""

_FEWEST = 2
_MARGIN = 1e-6
_Config = TypeVar("_Config", bound="DemonstratedConfig")


class DemonstratedConfig(Config):
    """How sure such a reward must be of success.

    Attributes:
        needed: K: so many of the last `window` observations must be successes, so that one wrong verdict pays nothing.
        window: N.
        false_positive_rate: Share of the demonstrations' observations before the last that may look like success.
    """

    needed: int = 2
    window: int = 3
    false_positive_rate: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what never or always succeeds."""
        if not 1 <= self.needed <= self.window:
            raise ValueError(f"needed {self.needed} must lie between 1 and window {self.window}")
        if not 0.0 < self.false_positive_rate < 1.0:
            raise ValueError(f"false_positive_rate {self.false_positive_rate} must lie between 0 and 1")


class Judge(Protocol):
    """Says how near the goal an observation is, in a unit of its own; more is nearer."""

    spec: TransitionSpec
    """Names and sizes of what is judged."""

    def learn(self, episodes: Sequence[Observations]) -> list[Array]:
        """Learn from at least two successful demonstrations.

        Returns:
            Nearness of every observation of each episode, as judged by what was not learned from that episode.
        """
        ...

    def nearness(self, observations: Observations) -> Array:
        """Judge N observations; shape (N,)."""
        ...


class Scale(NamedTuple):
    """Where on a judge's scale demonstrations begin and end.

    Attributes:
        start: Median nearness of their first observations.
        goal: Median nearness of their last ones.
        threshold: What is nearer is a success.
        recognised: How many of the last observations are.
        mistaken: How many of all others are.
    """

    start: float
    goal: float
    threshold: float
    recognised: int
    mistaken: int

    def progress(self, nearness: Array) -> Array:
        """From 0 at the start to 1 at the goal, and never beyond."""
        return np.clip((nearness - self.start) / (self.goal - self.start), 0.0, 1.0)


def calibrate(episodes: Sequence[Array], false_positive_rate: float) -> Scale:
    """Find the scale.

    Args:
        episodes: Nearness of the observations of each demonstration, in order; the last one is success.
        false_positive_rate: See `DemonstratedConfig`.

    Raises:
        InputError: Half of their ends or more do not look nearer than what was before.
    """
    first, last = (np.array([nearness[index] for nearness in episodes]) for index in (0, -1))
    before = np.concatenate([nearness[:-1] for nearness in episodes])
    start, goal = float(np.median(first)), float(np.median(last))
    # A little above it: judged in another batch the same observation comes out otherwise in the last digits.
    threshold = seldom_exceeded(before, false_positive_rate) + _MARGIN * abs(goal - start)
    recognised, mistaken = int(np.sum(last > threshold)), int(np.sum(before > threshold))
    if not goal > start or 2 * recognised < len(last):
        raise InputError(
            f"By what the reward looks at, only {recognised} of {len(last)} demonstrations end nearer to the goal than "
            "they were before: let it look with other cameras, or at other parts of the state."
        )
    return Scale(start, goal, threshold, recognised, mistaken)


class DemonstratedReward:
    """Pays for progress: as a rule demonstrations begin at about -1 and end at about 0.

    Implements `DemonstratedRewardModel`. Terms: `progress`, from 0 to 1, and `votes`, the successes of the last
    observations.

    Args:
        judge: Says how near the goal is.
        reward: Pays.
        config: How sure it must be.

    Raises:
        InputError: Of the task's payment; see `ProgressPayment`.
    """

    def __init__(self, judge: Judge, reward: RewardConfig, config: DemonstratedConfig) -> None:
        self._judge = judge
        self._payment = ProgressPayment(reward)
        self._config = config
        self._votes = Votes(config.needed, config.window)
        self._scale: Scale | None = None

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Learn from those that succeed, and say how well their ends are told apart.

        Raises:
            InputError: There are fewer than two, a number of theirs is not finite, or their ends look like the rest.
        """
        successes = [episode.observations for episode in episodes if episode.success]
        if len(successes) < _FEWEST:
            raise InputError(
                f"The reward learns from at least {_FEWEST} successful demonstrations, but {len(successes)} of "
                f"{len(episodes)} succeed: record more with journeyman collect."
            )
        if not all(np.isfinite(observations[STATE]).all() for observations in successes):
            raise InputError("A demonstration's state has numbers that are not finite: record it again.")
        nearness = self._judge.learn(successes)
        scale = self._scale = calibrate(nearness, self._config.false_positive_rate)
        others = sum(map(len, nearness)) - len(nearness)
        print(
            f"Of demonstrations that it did not learn from, the reward calls {scale.recognised} of {len(nearness)} "
            f"ends a success, and {scale.mistaken} of {others} other observations.",
            file=sys.stderr,
            flush=True,
        )

    def restart(self) -> None:
        """Forget the verdicts of the last episode.

        Raises:
            InputError: Nothing was learned.
        """
        self._known()
        self._votes.restart()

    def reward(self, observation: Observation) -> Reward:
        """Judge the newest observation.

        Raises:
            RobotError: An image is missing or of another size, or a number is not finite.
        """
        scale = self._known()
        self._check(observation)
        nearness = self._judge.nearness({key: np.asarray(value)[None] for key, value in observation.items()})
        if not np.isfinite(nearness).all():
            raise RobotError(
                "The robot was stopped because its progress is not a number: check state and cameras."
            )
        progress = float(scale.progress(nearness)[0])
        success = self._votes.add(bool(nearness[0] > scale.threshold))
        terms = {"progress": progress, "votes": float(self._votes.count)}
        return Reward(self._payment.success if success else self._payment(progress), success, terms)

    def pay(self, observations: Observations, done: NDArray[np.bool_]) -> Array:
        """What steps of demonstrations earn; see `DemonstratedRewardModel`."""
        paid = self._payment(self._known().progress(self._judge.nearness(observations)))
        return np.where(done, self._payment.success, paid)

    def _known(self) -> Scale:
        if self._scale is None:
            raise InputError(
                "The reward learns from demonstrations, and there are none here: give demonstrations.folder, and "
                "demonstrations.episodes of at least 2."
            )
        return self._scale

    def _check(self, observation: Observation) -> None:
        for key, space in self._judge.spec.observation_space.items():
            value = observation.get(key)
            if value is None or (key != STATE and (value.dtype != np.uint8 or value.shape != space.shape)):
                found = "nothing" if value is None else f"{value.dtype} of shape {list(value.shape)}"
                raise RobotError(
                    f"The robot was stopped because its progress cannot be judged: observation {key!r} is {found} "
                    f"instead of {space.dtype} of shape {list(space.shape)}."
                )


def read_config(config: Mapping[str, Any], kind: type[_Config]) -> _Config:
    """`reward.config` as a frozen object.

    Raises:
        InputError: A key is unknown or a value does not fit.
    """
    return read(kind, config, "reward.config")
