"""Episodes of training start more often where the policy fails."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from controllers.config import Config
from robot_env.contracts import ResetResult
from sim.curriculum import TASK, Array, Start, read_curriculum_config
from sim.scene import TwinScene


class FailureStartsConfig(Config):
    """How failure is estimated, and how much it weighs.

    Attributes:
        uniform: Share of episodes that start as the task does, so that nothing is starved.
        candidates: Of so many starts that the task might draw one is chosen.
        neighbours: Failure at a candidate is estimated from so many earlier episodes that started nearest to it.
        memory: Only the newest so many episodes count: the policy changes.
    """

    uniform: float = 0.3
    candidates: int = 8
    neighbours: int = 5
    memory: int = 200

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0.0 <= self.uniform <= 1.0 or self.candidates < 2 or not 1 <= self.neighbours <= self.memory:
            raise ValueError(
                f"uniform {self.uniform} must lie in [0, 1], candidates {self.candidates} must be at least 2, and "
                f"neighbours {self.neighbours} at least 1 and at most memory {self.memory}"
            )


class FailureStarts:
    """Draws several starts as the task does, and takes one by how often episodes from thereabouts failed.

    So every start keeps a chance, and none is outside of what the task draws. TwinRL (arXiv:2602.09023) looks on a twin
    for starts that are prone to fail, too, there to have a person help with them on the robot.

    Args:
        scene: Draws, tells starts apart by what it observes, and is put into the chosen one.
        config: See there.
    """

    def __init__(self, scene: TwinScene, config: FailureStartsConfig) -> None:
        self._scene = scene
        self._config = config
        self._memory: deque[tuple[Array, bool]] = deque(maxlen=config.memory)
        self._begun: Array | None = None

    def start(self, environment_steps: int, rng: np.random.Generator) -> Start:
        """One of several candidates or, now and then and as long as little is known, the task's own start."""
        known = len(self._memory) >= self._config.neighbours
        if not known or rng.random() < self._config.uniform:
            start = Start(TASK, self._scene.reset(rng))
        else:
            start = Start("failure", self._start_by_failure(rng))
        self._begun = self._seen()
        return start

    def ended(self, success: bool) -> None:
        """Remember what came of this start."""
        if self._begun is not None:
            self._memory.append((self._begun, not success))
            self._begun = None

    def failure_shares(self, starts: Array) -> Array:
        """Estimated share of failures of the policy from each of N starts, in (0, 1).

        Args:
            starts: What the scene observes there, shape (N, S).

        Returns:
            Shape (N,): that of the nearest neighbours, and as if one more had failed and one had not (Laplace's rule).
        """
        known = np.stack([seen for seen, _ in self._memory])
        failed = np.array([failed for _, failed in self._memory], np.float64)
        everything = np.concatenate([known, starts])
        spread = everything.std(0)
        telling = spread > 1e-9  # What never varies tells starts not apart.
        scaled = everything[:, telling] / spread[telling]
        apart = np.linalg.norm(scaled[len(known) :, None] - scaled[None, : len(known)], axis=2)
        count = self._config.neighbours
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :count]
        return (failed[nearest].sum(1) + 1.0) / (count + 2.0)

    def _start_by_failure(self, rng: np.random.Generator) -> ResetResult:
        places, seen = [], []
        for _ in range(self._config.candidates):
            drawn = self._scene.draw(rng)
            if drawn.success:
                places.append(self._scene.snapshot())
                seen.append(self._seen())
        if not places:
            return drawn
        weights = self.failure_shares(np.stack(seen))
        chosen = rng.choice(len(places), p=weights / weights.sum())
        return self._scene.start_from(places[chosen], rng)

    def _seen(self) -> Array:
        return np.concatenate([np.ravel(value) for value in self._scene.observe().values()])


def make_failure_starts(scene: TwinScene, config: Mapping[str, Any]) -> FailureStarts:
    """Factory named by `curriculum=failures`.

    Raises:
        InputError: `config` is not a `FailureStartsConfig`.
    """
    return FailureStarts(scene, read_curriculum_config(FailureStartsConfig, config))
