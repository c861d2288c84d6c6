"""Where episodes of training start on the twin, which can be put into any state; a real robot cannot."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, read
from robot_env.contracts import ResetResult
from sim.scene import TwinScene

Array = NDArray[np.float64]

TASK = "task"
"""The kind of a start that the task itself draws."""

_Config = TypeVar("_Config", bound=Config)


class Start(NamedTuple):
    """How an episode started.

    Attributes:
        kind: `task`, or in a word what was chosen instead.
        result: Whether the scene is in a start state.
    """

    kind: str
    result: ResetResult


class Curriculum(Protocol):
    """Chooses where episodes of training start. Evaluations never ask it."""

    def start(self, environment_steps: int, rng: np.random.Generator) -> Start:
        """Bring the scene to the next start state.

        Args:
            environment_steps: Of the run so far.
            rng: Source of every random choice.
        """
        ...

    def ended(self, success: bool) -> None:
        """The episode since the last `start` is over. Not called for one that was broken off, or helped by a person."""
        ...


@runtime_checkable
class DemonstratedCurriculum(Curriculum, Protocol):
    """A curriculum that needs the states which demonstrations went through."""

    def learn(self, demonstrations: Sequence[Array]) -> None:
        """Take them in, before the first `start`.

        Args:
            demonstrations: For each the snapshots of the scene in order, shape (T, D).
        """
        ...


class DemonstrationStartsConfig(Config):
    """How often, how long, and how near to the end.

    Attributes:
        probability: That an episode at the very start of the run begins in a state of a demonstration.
        fade_steps: The probability falls linearly to 0 over so many environment steps.
        from_end: Only the last so many parts of a demonstration, at the very start of the run; widens linearly to all
            of it over `fade_steps`. 1 takes all from the beginning.
    """

    probability: float = 0.5
    fade_steps: int = 3000
    from_end: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not (0.0 <= self.probability <= 1.0 and 0.0 < self.from_end <= 1.0 and self.fade_steps >= 1):
            raise ValueError(
                f"probability {self.probability} must lie in [0, 1], from_end {self.from_end} in (0, 1], and "
                f"fade_steps {self.fade_steps} must be at least 1"
            )


class DemonstrationStarts:
    """Starts in states of demonstrations, less and less often.

    Resets to states of an expert: FILTER (arXiv:2303.14623); only early in training, and without a change to the
    algorithm: SnapshotRL (arXiv:2403.00673); late states first: Florensa et al. (arXiv:1707.05300).

    Args:
        scene: Is put into the states.
        config: How often.
    """

    def __init__(self, scene: TwinScene, config: DemonstrationStartsConfig) -> None:
        self._scene = scene
        self._config = config
        self._demonstrations: Sequence[Array] = ()

    def learn(self, demonstrations: Sequence[Array]) -> None:
        """Take in where demonstrations went; see `DemonstratedCurriculum`."""
        self._demonstrations = demonstrations

    def start(self, environment_steps: int, rng: np.random.Generator) -> Start:
        """A state of a demonstration or, more and more often, the task's own start."""
        gone = min(environment_steps / self._config.fade_steps, 1.0)
        if rng.random() >= self._config.probability * (1.0 - gone):
            return Start(TASK, self._scene.reset(rng))
        return Start("demonstration", self._scene.start_from(self._choose(gone, rng), rng))

    def ended(self, success: bool) -> None:
        """The probability does not depend on it."""

    def _choose(self, gone: float, rng: np.random.Generator) -> Array:
        states = self._demonstrations[int(rng.integers(len(self._demonstrations)))]
        share = self._config.from_end + gone * (1.0 - self._config.from_end)
        last = max(1, round(share * len(states)))
        return states[-1 - rng.integers(last)]


def make_demonstration_starts(scene: TwinScene, config: Mapping[str, Any]) -> DemonstrationStarts:
    """Factory named by `curriculum=demonstrations`.

    Raises:
        InputError: `config` is not a `DemonstrationStartsConfig`.
    """
    return DemonstrationStarts(scene, read_curriculum_config(DemonstrationStartsConfig, config))


def read_curriculum_config(kind: type[_Config], config: Mapping[str, Any]) -> _Config:
    """`curriculum.config` as the class that a curriculum wants.

    Raises:
        InputError: It does not fit.
    """
    return read(kind, config, "curriculum.config")
