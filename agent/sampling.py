"""Which transitions are drawn, where not all are as likely: by how wrong critics were, or by what episodes earned."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.config import Config, InputError
from agent.priorities import Priorities
from agent.reading import ROW, WEIGHT, Fields, Reader, Rows
from agent.replay import ReplayBuffer
from agent.trajectories import episode_ends
from agent.transition import Records

_LEAST_ERROR = 1e-6  # So that what is right at the moment is drawn again, some day (epsilon of section 3.3).


class SamplingConfig(Config):
    """How a learner draws its batches.

    Attributes:
        kind: `uniform`; `prioritised` draws what the critics were most wrong about (arXiv:1511.05952); of recorded data
            `return_weighted` draws the best episodes most (arXiv:2306.13085).
        alpha: Of `prioritised`: a priority is the error to this power; 0 is uniform.
        beta: Of `prioritised`: how far losses make up for what is drawn too often, at the run's first step. It grows to
            1, wholly, at its last.
        temperature: Of `return_weighted`: an episode that earns as much more than another as the best does than the
            worst is drawn exp(1 / temperature) times as often.
    """

    kind: Literal["uniform", "prioritised", "return_weighted"] = "uniform"
    alpha: float = 0.6
    beta: float = 0.4
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 <= self.alpha <= 1 or not 0 <= self.beta <= 1:
            raise ValueError(
                f"learner.sampling.alpha {self.alpha} and beta {self.beta} must lie between 0 and 1"
            )
        if not 0.01 <= self.temperature < np.inf:
            raise ValueError(f"learner.sampling.temperature {self.temperature} must be at least 0.01")


class PrioritisedReader:
    """Says how much each transition counts, and learns how wrong the critics were about it (arXiv:1511.05952).

    Args:
        read: Makes the rest of the transitions.
        priorities: Of all replays that it is asked to read.
        config: Alpha and beta.
        progress: How much of the run is over, from 0 to 1.
    """

    def __init__(
        self,
        read: Reader,
        priorities: Sequence[Priorities],
        config: SamplingConfig,
        progress: Callable[[], float],
    ) -> None:
        self._read, self._priorities = read, list(priorities)
        self._config, self._progress = config, progress

    def __call__(self, replay: Rows, names: Sequence[str], rows: NDArray[np.int64]) -> Fields:
        """As the other reader, and the fields `weight` and `row`."""
        beta = self._config.beta + (1.0 - self._config.beta) * min(1.0, self._progress())
        assert replay.priorities is not None
        index = self._priorities.index(replay.priorities)
        # One scale for all that is in a batch, or the mixing of demonstrations and online data would change with it.
        greatest = max(priorities.greatest_weight(beta) for priorities in self._priorities)
        fields = self._read(replay, names, rows)
        fields[WEIGHT] = (replay.priorities.weights(rows, beta) / greatest).astype(np.float32)
        fields[ROW] = replay.priorities.marks(rows) * len(self._priorities) + index
        return fields

    def learn(self, rows: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """Take in how wrong the critics were, whatever the sign, about what the field `row` names; shape (N,) each."""
        values = (np.abs(errors.astype(np.float64)) + _LEAST_ERROR) ** self._config.alpha
        for index, priorities in enumerate(self._priorities):
            own = rows % len(self._priorities) == index
            priorities.learn(rows[own] // len(self._priorities), values[own])


def return_weights(records: Records, temperature: float) -> NDArray[np.float64]:
    """How likely transitions are drawn by what their episodes earned, shape (N,), 1 on average (arXiv:2306.13085).

    The softmax of returns between 0, the worst, and 1, the best, over `temperature`. As in the paper's code it is that
    of transitions: an episode twice as long is drawn twice as often, and an infinite temperature is uniform.

    Args:
        records: Recorded data, in order.
        temperature: Alpha of the paper.

    Raises:
        InputError: A reward is missing: not a number, as it is where nobody recorded one.
    """
    missing = np.count_nonzero(~np.isfinite(records["reward"]))
    if missing:
        raise InputError(
            f"learner.sampling.kind is return_weighted, but {missing} of {len(records)} recorded transitions have no "
            "reward, and their episodes no return: choose uniform, or give data with rewards."
        )
    ends = episode_ends(records)
    episode: NDArray[np.int64] = np.cumsum(ends) - ends
    returns = np.bincount(episode, records["reward"])
    spread = np.ptp(returns) or 1.0
    weights = np.exp((returns - returns.max()) / spread / temperature)[episode]
    return weights / weights.mean()


class _Drawn(NamedTuple):
    """What a way to draw may want to know. See `draw_as`."""

    config: SamplingConfig
    online: ReplayBuffer
    demonstrations: ReplayBuffer
    recorded: Records
    read: Reader
    steps: int


def _uniformly(drawn: _Drawn) -> Reader:
    return drawn.read


def _by_error(drawn: _Drawn) -> Reader:
    replays = drawn.online, drawn.demonstrations
    priorities = [replay.draw_by_priority() for replay in replays]

    def progress() -> float:
        return drawn.online.total_added / max(1, drawn.steps)

    return PrioritisedReader(drawn.read, priorities, drawn.config, progress)


def _by_return(drawn: _Drawn) -> Reader:
    priorities = drawn.demonstrations.draw_by_priority()
    priorities.assign(drawn.demonstrations.rows(), _weights(drawn.config, drawn.recorded))
    return drawn.read


def _weights(config: SamplingConfig, recorded: Records) -> NDArray[np.float64]:
    return return_weights(recorded, config.temperature)


class Way(NamedTuple):
    """A way to draw.

    Attributes:
        begin: Sets it up.
        needs_errors: Whether only for an algorithm that is a `TellsErrors`.
        needs_recorded: Whether only where there are recorded data.
        examine: Refuses recorded data that do not say what they are to be drawn by.
    """

    begin: Callable[[_Drawn], Reader]
    needs_errors: bool = False
    needs_recorded: bool = False
    examine: Callable[[SamplingConfig, Records], Any] = lambda config, recorded: None


WAYS = {
    "uniform": Way(_uniformly),
    "prioritised": Way(_by_error, needs_errors=True),
    "return_weighted": Way(_by_return, needs_recorded=True, examine=_weights),
}
"""By `SamplingConfig.kind`."""


def draw_as(
    config: SamplingConfig,
    online: ReplayBuffer,
    demonstrations: ReplayBuffer,
    recorded: Records,
    read: Reader,
    steps: int,
) -> Reader:
    """Let two replays be drawn from as configured, before anything but recorded data is in them.

    Args:
        config: How.
        online: What the robot does; empty.
        demonstrations: Holds recorded data and nothing else.
        recorded: These, in order.
        read: What becomes of what is drawn.
        steps: Environment steps of the run.

    Returns:
        What becomes of what is drawn, now.
    """
    return WAYS[config.kind].begin(_Drawn(config, online, demonstrations, recorded, read, steps))
