"""Replay memory and the mixing of online data with demonstrations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent.algorithm import Batch
from agent.frames import Convert, FrameStore
from agent.priorities import Priorities
from agent.reading import ROW, Reader, TaughtReader, read_steps
from agent.tensors import above, below
from agent.trajectories import RETURN, EpisodeIndex, EpisodeTracker, returns_to_go
from agent.transition import Records, TransitionSpec

_PREFIXES = ("observation", "next_observation")


class ReplayBuffer:
    """A ring of transitions, uniformly sampled unless `draw_by_priority` is called.

    Each transition brings its own next observation, so a sample can never join two episodes, actors or
    interventions, whatever order the records came in. Of camera images (uint8) a frame that two transitions share is
    kept once, see `FrameStore`.

    Attributes:
        priorities: What rows are drawn by; None where each is as likely.

    Args:
        spec: Layout of a transition.
        capacity: Transitions kept.
        seed: Of the sampling.
        convert: What is kept instead of images, and given out under their names.
        returns_discount: If given, there is a field `mc_return`: what the episode earned from the transition on, which
            is known when it is over. Minus infinity, a bound that says nothing, until then, and for episodes that were
            cut where rewards can be negative: what would have followed may be worse than nothing.
        follow_episodes: Whether `remaining`, `later` and `path` are wanted.
    """

    def __init__(
        self,
        spec: TransitionSpec,
        capacity: int,
        seed: int,
        convert: Convert | None = None,
        returns_discount: float | None = None,
        follow_episodes: bool = False,
    ) -> None:
        assert spec.dtype.names is not None
        self.capacity = capacity
        self.total_added = 0
        self._oldest = 0  # Number of the oldest transition that has all its frames.
        images = [f"{prefix}.{key}" for prefix in _PREFIXES for key in spec.image_keys]
        # One array per field, so that sampling copies rows of a field without walking over whole records.
        self._fields: dict[str, Any] = {
            name: np.zeros((capacity, *spec.dtype[name].shape), spec.dtype[name].base)
            for name in spec.dtype.names
            if name not in images
        }
        self._returns_discount = returns_discount
        if returns_discount is not None:
            self._fields[RETURN] = np.full(capacity, -np.inf, np.float32)
        self._episodes = EpisodeIndex(capacity) if follow_episodes else None
        followed = follow_episodes or returns_discount is not None
        self._tracker = EpisodeTracker(spec) if followed else None
        self._frames: FrameStore | None = None
        if spec.image_keys:
            shapes = {key: spec.dtype[f"observation.{key}"].shape for key in spec.image_keys}
            self._frames = FrameStore.for_transitions(shapes, capacity, convert)
            self._numbers = {prefix: np.zeros(capacity, np.int64) for prefix in _PREFIXES}
        self._rng = np.random.default_rng(seed)
        self.priorities: Priorities | None = None

    def __len__(self) -> int:
        """Number of transitions held."""
        return self.total_added - self._oldest

    def append(self, records: Records) -> None:
        """Add transitions; the oldest ones make room."""
        kept = records[-self.capacity :]
        first = self.total_added + len(records) - len(kept)
        slots = np.arange(first, first + len(kept)) % self.capacity
        for name, field in self._fields.items():
            field[slots] = -np.inf if name == RETURN else kept[name]
        if self._episodes is not None:
            self._episodes.forget(slots)
        if self.priorities is not None:
            self.priorities.add(slots)
        if self._tracker is not None:
            oldest, before = first + len(kept) - self.capacity, np.full(len(kept), -1, np.int64)
            for numbers in self._tracker.follow(kept, first, before):
                self._keep_episode(numbers[numbers >= oldest])
            if self._episodes is not None:
                (going_on,) = np.nonzero(before >= max(0, oldest))
                self._episodes.link(before[going_on], first + going_on)
        self.total_added += len(records)
        self._oldest = max(self._oldest, self.total_added - self.capacity)
        if self._frames is not None:
            for prefix, numbers in zip(_PREFIXES, self._frames.add(kept), strict=True):
                self._numbers[prefix][slots] = numbers
            self._forget_without_frames(self._frames)

    def has(self, name: str) -> bool:
        """Whether `take` gives this field."""
        return name in self._fields

    def rows(self) -> NDArray[np.int64]:
        """Indices of all transitions held, shape (N,)."""
        return np.arange(self._oldest, self.total_added) % self.capacity

    def draw_by_priority(self) -> Priorities:
        """From here on draw in proportion to priorities; they are part of `state_dict`, not of `random_state`.

        Returns:
            All the same, for the caller to change.
        """
        self.priorities = Priorities(self._places)
        self.priorities.add(self.rows())
        return self.priorities

    def draw(self, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Random indices, shape (rows,)."""
        if self.priorities is not None:
            return self.priorities.draw(self._rng, rows)
        return self._rng.integers(self._oldest, self.total_added, rows) % self.capacity

    def take(self, name: str, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
        """Values of one field, shape (rows, ...), copied."""
        if name in self._fields:
            return self._fields[name][rows]
        assert self._frames is not None
        prefix, _, key = name.partition(".")
        return self._frames.take(key, self._numbers[prefix][rows])

    def remaining(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many transitions follow in the same episode, shape (N,); -1 while it is not over."""
        assert self._episodes is not None
        return self._episodes.remaining(rows)

    def path(self, rows: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Rows of the transitions and of what follows each in the same episode, shape (N, steps).

        -1 after the last that is known: of an episode that is not over there may be more later.
        """
        assert self._episodes is not None
        return self._episodes.path(rows, steps)

    def later(self, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the transitions `steps` later in the same episode, shape (N,).

        At most its last; the rows themselves while the episode is not over.
        """
        assert self._episodes is not None
        return self._episodes.later(rows, steps)

    def random(self, count: int) -> NDArray[np.float64]:
        """Uniform in [0, 1), shape (count,), for who reads: of the same random state as `draw`."""
        return self._rng.random(count)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What was learned about the transitions held: their priorities, if they are drawn by any."""
        if self.priorities is None:
            return {}
        priorities, greatest = self.priorities.state()
        return {
            "priorities": torch.from_numpy(priorities),
            "greatest": torch.tensor(greatest, dtype=torch.float64),
            "total_added": torch.tensor(self.total_added),
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over what was learned about transitions that were there already; newer ones have the greatest priority.

        Nothing happens without a state, or with that of a replay of another size, where they were in other places.
        """
        if self.priorities is None or not state or len(state["priorities"]) != self._places:
            return
        known, newer = self._known_and_newer(int(state["total_added"]))
        values = state["priorities"].numpy()[known]
        self.priorities.restore(known, values, newer, float(state["greatest"]))

    def random_state(self) -> dict[str, Any]:
        """State of the sampling, as plain values."""
        return dict(self._rng.bit_generator.state)

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on sampling where `random_state` was taken."""
        self._rng.bit_generator.state = state

    def _known_and_newer(self, total_added: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of transitions that were held when so many had been added, and of those that came later."""
        numbers = np.arange(self._oldest, self.total_added)
        return numbers[numbers < total_added] % self.capacity, numbers[numbers >= total_added] % self.capacity

    @property
    def _places(self) -> int:
        """Indices are less than this."""
        return self.capacity

    def _keep_episode(self, numbers: NDArray[np.int64]) -> None:
        """What is known now that an episode is over."""
        if self._episodes is not None:
            self._episodes.add(numbers)
        if self._returns_discount is not None:
            self._keep_returns(numbers % self.capacity, self._returns_discount)

    def _keep_returns(self, slots: NDArray[np.int64], discount: float) -> None:
        rewards = self._fields["reward"][slots]
        if self._fields["terminated"][slots[-1]] or rewards.min() >= 0.0:
            self._fields[RETURN][slots] = returns_to_go(rewards, discount)

    def _forget_without_frames(self, frames: FrameStore) -> None:
        """Where episodes are so short that frames run out first, transitions go with their frames."""
        newest = self._numbers["next_observation"]
        before = self._oldest
        while self._oldest < self.total_added and not frames.keeps(newest[self._oldest % self.capacity]):
            self._oldest += 1
        if self.priorities is not None:
            self.priorities.remove(np.arange(before, self._oldest) % self.capacity)


def replay_bytes(spec: TransitionSpec, capacity: int) -> int:
    """Memory that a full `ReplayBuffer` takes, without the second copy of frames that two transitions share."""
    images = sum(spec.dtype[f"observation.{key}"].itemsize for key in spec.image_keys)
    return capacity * (spec.dtype.itemsize - images)


class MixedSampler:
    """Draws batches of which a fixed share comes from demonstrations (RLPD, arXiv:2302.02948, section 4.1).

    A batch is always whole: without demonstrations, or before the first online transition, the other buffer
    fills it.

    Attributes:
        device: Where batches are wanted.

    Args:
        spec: Layout of a transition.
        online: What actors did.
        demonstrations: What people showed.
        demonstration_ratio: Their share of a batch.
        device: Where batches are wanted.
        read: What becomes of the rows that were drawn.
    """

    _FIELDS = ("action", "reward", "terminated", "provenance", RETURN)

    def __init__(
        self,
        spec: TransitionSpec,
        online: ReplayBuffer,
        demonstrations: ReplayBuffer,
        demonstration_ratio: float,
        device: torch.device,
        read: Reader = read_steps,
    ) -> None:
        self._names = (
            *(f"{prefix}.{key}" for prefix in _PREFIXES for key in spec.observation_keys),
            *(name for name in self._FIELDS if online.has(name)),
        )
        self._online, self._demonstrations = online, demonstrations
        self._ratio = demonstration_ratio
        self._read = read
        self.device = device

    @property
    def environment_steps(self) -> int:
        """Transitions taken in from actors since the run began."""
        return self._online.total_added

    @property
    def stored(self) -> int:
        """Of these, how many are kept for sampling."""
        return len(self._online)

    def append(self, records: Records) -> None:
        """Take in what actors did; what a human did is a demonstration as well (HIL-SERL, arXiv:2410.21845)."""
        self._online.append(records)
        self._demonstrations.append(records[records["intervened"]])

    def sample(self, batches: int, batch_size: int) -> Batch:
        """`batches` batches in one, each slice of `batch_size` with the same share of demonstrations.

        Returns:
            Tensors of shape (batches * batch_size, ...) on the learner's device; on a GPU the copies may still be under
            way, in order on the current stream.
        """
        demonstrated = self._demonstrated(batch_size)
        rows_online = (
            self._online.draw(batches * (batch_size - demonstrated)) if demonstrated < batch_size else None
        )
        rows_demo = self._demonstrations.draw(batches * demonstrated) if demonstrated else None
        parts = [
            self._read(buffer, self._names, rows)
            for buffer, rows in ((self._online, rows_online), (self._demonstrations, rows_demo))
            if rows is not None
        ]
        batch: Batch = {}
        for name in parts[0]:
            values = [_in_batches(part[name], batches) for part in parts]
            whole = values[0] if len(values) == 1 else np.concatenate(values, axis=1)
            batch[name] = self._to_device(whole.reshape(batches * batch_size, *whole.shape[2:]))
        return batch

    def learn(self, batch: Batch, errors: torch.Tensor) -> None:
        """Take in how wrong the critics were about a batch, shape (N,), if batches are drawn by that."""
        if isinstance(self._read, TaughtReader):
            self._read.learn(batch[ROW].cpu().numpy(), errors.cpu().numpy())

    def sample_demonstrations(self, batch_size: int) -> Batch:
        """Nothing but what people showed, whatever the share; shape (batch_size, ...)."""
        rows = self._demonstrations.draw(batch_size)
        part = self._read(self._demonstrations, self._names, rows)
        return {name: self._to_device(values) for name, values in part.items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What was learned about the transitions of both buffers, flat."""
        return above("online.", self._online.state_dict()) | above(
            "demonstrations.", self._demonstrations.state_dict()
        )

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over a `state_dict`, once the same transitions are there."""
        self._online.load_state_dict(below("online.", state))
        self._demonstrations.load_state_dict(below("demonstrations.", state))

    def random_state(self) -> dict[str, Any]:
        """State of the sampling of both buffers, as plain values."""
        return {"online": self._online.random_state(), "demonstrations": self._demonstrations.random_state()}

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on sampling where `random_state` was taken."""
        self._online.set_random_state(state["online"])
        self._demonstrations.set_random_state(state["demonstrations"])

    def _to_device(self, values: Any) -> torch.Tensor:
        host = torch.from_numpy(values)
        if self.device.type == "cuda":
            host = host.pin_memory()  # From elsewhere the device cannot copy while it computes.
        return host.to(self.device, non_blocking=True)

    def _demonstrated(self, batch_size: int) -> int:
        if len(self._demonstrations) == 0:
            return 0
        if len(self._online) == 0:
            return batch_size
        return round(self._ratio * batch_size)


def _in_batches(values: Any, batches: int) -> Any:
    """Shape (N, ...) -> (batches, N / batches, ...)."""
    return values.reshape(batches, len(values) // batches, *values.shape[1:])
