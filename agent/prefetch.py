"""The next batch, sampled and on its way to the device while the device learns from the last one."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import torch

from agent.algorithm import Batch
from agent.replay import MixedSampler
from agent.transition import Records


class _Pending(NamedTuple):
    """A batch under way, and the random state from before it."""

    batch: Future[Batch]
    random_state: dict[str, Any]


class Prefetcher:
    """A `MixedSampler` that works ahead, in a thread and on a CUDA stream of its own.

    Replay and random state are the thread's while a batch is under way: `append` waits until it is drawn. So nothing
    is overwritten while it is read, and a batch comes from the replay as it was when it was begun, however the threads
    run. All methods are for one thread, the learner's.

    Args:
        sampler: What draws batches and copies them. Nobody else may use it or its buffers from here on.
        ahead: Whether to work ahead. Where this CPU learns, a batch takes 1 % of its update, and the thread takes that
            from the same cores (`bench/replay.py`).
    """

    def __init__(self, sampler: MixedSampler, ahead: bool) -> None:
        self._sampler = sampler
        self._ahead = ahead
        self._stream = torch.cuda.Stream(sampler.device) if sampler.device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._pending: _Pending | None = None

    @property
    def environment_steps(self) -> int:
        """Transitions taken in from actors since the run began."""
        return self._sampler.environment_steps

    @property
    def stored(self) -> int:
        """Of these, how many are kept for sampling."""
        return self._sampler.stored

    def append(self, records: Records) -> None:
        """As `MixedSampler.append`, once the batch under way is drawn."""
        self._wait()
        self._sampler.append(records)

    def sample(self, batches: int, batch_size: int, another: bool) -> Batch:
        """As `MixedSampler.sample`.

        Args:
            batches: How many in one.
            batch_size: Of each.
            another: Whether the next call will be for as many again, so that they can be begun now.

        Raises:
            Exception: What ended the drawing of a batch that was begun.
        """
        batch = self._sampler.sample(batches, batch_size) if self._pending is None else self._finish()
        if another and self._ahead:
            before = self._sampler.random_state()
            self._pending = _Pending(self._thread.submit(self._draw, batches, batch_size), before)
        return batch

    def learn(self, batch: Batch, errors: torch.Tensor) -> None:
        """As `MixedSampler.learn`, once the batch under way is drawn: by what was known when it was begun."""
        self._wait()
        self._sampler.learn(batch, errors)

    def sample_demonstrations(self, batch_size: int) -> Batch:
        """As `MixedSampler.sample_demonstrations`, at once; not while a batch is under way."""
        assert self._pending is None
        return self._sampler.sample_demonstrations(batch_size)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """As `MixedSampler.state_dict`; what a batch under way taught is not known yet."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """As `MixedSampler.load_state_dict`, once the batch under way is drawn."""
        self._wait()
        self._sampler.load_state_dict(state)

    def random_state(self) -> dict[str, Any]:
        """State of the sampling before the batch under way: who goes on from it draws that batch again."""
        return self._sampler.random_state() if self._pending is None else self._pending.random_state

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Go on sampling where `random_state` was taken; a batch under way is discarded."""
        self.discard()
        self._sampler.set_random_state(state)

    def discard(self) -> None:
        """Forget the batch under way, and draw others."""
        self._wait()
        self._pending = None

    def close(self) -> None:
        """End the thread. A batch under way is discarded, as if it had not been begun."""
        self.set_random_state(self.random_state())
        self._thread.shutdown()

    def _draw(self, batches: int, batch_size: int) -> Batch:
        """On the thread: the copies are under way when this returns, on its stream."""
        with torch.cuda.stream(self._stream):
            return self._sampler.sample(batches, batch_size)

    def _finish(self) -> Batch:
        """The batch under way. The device waits for its copies, this CPU does not."""
        assert self._pending is not None
        future, self._pending = self._pending.batch, None
        batch = future.result()
        if self._stream is not None:
            learning = torch.cuda.current_stream(self._stream.device)
            learning.wait_stream(self._stream)
            for values in batch.values():
                # Its memory belongs to the other stream, which must not reuse it before it has been learned from.
                values.record_stream(learning)
        return batch

    def _wait(self) -> None:
        if self._pending is not None:
            wait([self._pending.batch])
