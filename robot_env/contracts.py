"""What the environment is assembled from besides the robot: scene, camera, reward, reset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robot_env.episode import Episode

Observation = dict[str, NDArray[Any]]
PRIVILEGED = "privileged"
"""Key of what critics may see and no policy; episode files do not hold it."""


class Scene(Protocol):
    """What is observed besides the robot: tracked objects, goals."""

    @property
    def observables(self) -> Mapping[str, int]:
        """Name and size of everything `observe` returns."""
        ...

    def observe(self) -> Mapping[str, NDArray[np.float64]]:
        """The newest value of every observable, in SI units and the base frame."""
        ...


class Camera(Protocol):
    """A colour camera."""

    def read(self) -> NDArray[np.uint8]:
        """The freshest frame, RGB, shape (height, width, 3)."""
        ...


class Reward(NamedTuple):
    """What one step earned.

    Attributes:
        value: The reward.
        success: Whether the task is done; this terminates the episode.
        terms: Named parts, for people to look at.
    """

    value: float
    success: bool
    terms: Mapping[str, float] = MappingProxyType({})


class RewardModel(Protocol):
    """Turns an observation into a reward: ground truth of a twin, a classifier, a person."""

    def reward(self, observation: Observation) -> Reward:
        """Judge the observation that the last action led to."""
        ...


@runtime_checkable
class RestartedRewardModel(RewardModel, Protocol):
    """A reward model that remembers something of the episode, such as its last verdicts."""

    def restart(self) -> None:
        """Forget it: an episode begins. `RobotEnv.reset` calls this."""
        ...


@runtime_checkable
class DemonstratedRewardModel(RestartedRewardModel, Protocol):
    """A reward model that is made from demonstrations, and pays every step by what it sees."""

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Learn from the run's demonstrations; before that nothing can be judged.

        Raises:
            InputError: They cannot be learned from.
        """
        ...

    def pay(self, observations: Mapping[str, NDArray[Any]], done: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What steps of demonstrations earn, which were recorded with the reward of their task.

        Args:
            observations: That the N steps led to, by name, each of shape (N, ...).
            done: Which of them are known to be the end, shape (N,).

        Returns:
            Shape (N,).
        """
        ...


class Activity(StrEnum):
    """What a robot that is not at work on its task does."""

    RESETTING = auto()
    RECOVERING = auto()
    """The reset that usually works did not: something else is tried."""
    WAITING_FOR_HUMAN = auto()


class KeepGoing(Protocol):
    """Asked before every command, and several times a second where only time passes."""

    def __call__(self, activity: Activity = Activity.RESETTING, why: str = "") -> None:
        """Say whether to go on, by raising if not.

        Args:
            activity: What is being done.
            why: In a sentence; of `WAITING_FOR_HUMAN` what went wrong, and what the person is to do.
        """
        ...


def always(activity: Activity = Activity.RESETTING, why: str = "") -> None:
    """Nobody wants to break a reset off. A `KeepGoing`."""


@dataclass(frozen=True, slots=True)
class ResetAttempt:
    """One way tried.

    Attributes:
        policy: Which, in a word: `joint`, `service`, `operator`.
        success: Whether the scene was in a start state afterwards.
        reason: If not, why.
    """

    policy: str
    success: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResetResult:
    """Whether the scene is in a start state, and if not why.

    Attributes:
        success: Whether it is.
        reason: If not, why, in words that fit behind a colon.
        attempts: Of a policy that has several ways, all that it tried, in order.
        stays: Whether the arm was left where the last episode ended. Then an orientation that is held is held on, not
            measured anew: its errors would add up from episode to episode.
    """

    success: bool
    reason: str = ""
    attempts: tuple[ResetAttempt, ...] = ()
    stays: bool = False


class ResetPolicy(Protocol):
    """Brings robot and scene to a start state."""

    def reset(self, rng: np.random.Generator, keep_going: KeepGoing) -> ResetResult:
        """Do it; every random choice comes from `rng`.

        Args:
            rng: Source of randomness.
            keep_going: Called before every command. What it raises breaks the reset off: then the robot is stopped and
                the exception passed on. Only so does Ctrl-C reach an arm that drives home for seconds.
        """
        ...


class Verifier(Protocol):
    """Sees whether a reset worked. It moves nothing."""

    def verify(self) -> ResetResult:
        """Whether robot and scene are in a start state now, as far as can be seen."""
        ...
