"""The processes of one learner, as torch.distributed knows them: who they are, and what they tell each other.

All of it is tensors and bytes that `msgspec` and `safetensors` read: torch's own ways to send objects are pickle.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from agent.config import InputError

_AT_WORK = timedelta(minutes=5)  # Who does not answer in the middle of an update for so long is stuck.
_AT_REST = timedelta(days=30)  # Before the first update and between two, the others may wait for experience.


class RankLostError(RuntimeError):
    """Another process of this learner has ended or is stuck, and nothing can be learned without it."""

    exit_code = 1


@dataclass(frozen=True)
class Place:
    """Which process of a learner this is.

    Attributes:
        rank: The first, 0, has the port, the replay and the checkpoints.
        count: How many there are.
        local_rank: Which of those on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0


def place() -> Place:
    """As `torchrun` says; the only one without it."""
    if not dist.is_torchelastic_launched():
        return Place()
    return Place(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


def device_of(kind: str, local_rank: int) -> torch.device:
    """Where a process learns.

    Args:
        kind: `cpu` or `cuda`.
        local_rank: Each process of a machine has the GPU of its number.

    Raises:
        InputError: There is none left for it.
    """
    if kind != "cuda":
        return torch.device(kind)
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"Process {local_rank} of this machine has no GPU: torch sees {torch.cuda.device_count()} here; start as "
            "many processes (--nproc-per-node), or set learner.device=cpu."
        )
    return torch.device("cuda", local_rank)


class Ranks:
    """All processes of a learner; each calls the same methods in the same order.

    Orders go from the first process to the others while they rest. Everything else belongs to an update.

    Args:
        here: Which process this is.
        init_method: Where they find each other, see `torch.distributed.init_process_group`.

    Raises:
        RankLostError: From every method: another process has ended or is stuck.
    """

    def __init__(self, here: Place, init_method: str = "env://") -> None:
        self.here = here
        with _saying_what_it_means():
            dist.init_process_group(
                "gloo", init_method=init_method, rank=here.rank, world_size=here.count, timeout=_AT_REST
            )
            self._of_cpu = self._of_device = dist.new_group(backend="gloo", timeout=_AT_WORK)

    def use(self, device: torch.device) -> None:
        """Batches and gradients are on this device from here on."""
        if device.type == "cuda":
            torch.cuda.set_device(device)
            with _saying_what_it_means():
                self._of_device = dist.new_group(backend="nccl", timeout=_AT_WORK)

    def tell(self, order: bytes) -> None:
        """Of the first process, to all others."""
        with _saying_what_it_means():
            dist.broadcast(torch.tensor([len(order)]), 0)
            dist.broadcast(torch.frombuffer(bytearray(order), dtype=torch.uint8), 0)

    def hear(self) -> bytes:
        """Of any other: what the first one tells."""
        with _saying_what_it_means():
            size = torch.zeros(1, dtype=torch.int64)
            dist.broadcast(size, 0)
            content = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(content, 0)
        return content.numpy().tobytes()

    def scatter(self, own: Tensor, parts: Sequence[Tensor] | None = None) -> None:
        """Hand out one part each.

        Args:
            own: Is filled.
            parts: Of the first process, by rank, each like `own`; None of the others.
        """
        with _saying_what_it_means():
            dist.scatter(own, None if parts is None else list(parts), 0, self._of_device)

    def average_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """The mean over all processes, to the bit the same in each; a hook for `register_step_pre_hook`."""
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _saying_what_it_means():
            dist.all_reduce(flat, group=self._of_device)
        flat /= self.here.count
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(
            gradients, [part.view_as(like) for part, like in zip(parts, gradients, strict=True)]
        )

    def average(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The mean of each over all processes."""
        values = torch.tensor(list(metrics.values()), dtype=torch.float64)
        if metrics:
            with _saying_what_it_means():
                dist.all_reduce(values, group=self._of_cpu)
        return dict(zip(metrics, (values / self.here.count).tolist(), strict=True))

    def have_the_same(self, content: bytes) -> bool:
        """Whether `content` is the same in all processes."""
        digest = int.from_bytes(hashlib.sha256(content).digest()[:7], "big")
        extremes = torch.tensor([digest, -digest])
        with _saying_what_it_means():
            dist.all_reduce(extremes, dist.ReduceOp.MAX, self._of_cpu)
        return int(extremes[0]) == -int(extremes[1])

    def close(self) -> None:
        """Leave the others."""
        with suppress(RuntimeError):
            dist.destroy_process_group()


@contextmanager
def _saying_what_it_means() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RankLostError(
            f"Another process of this learner has ended or is stuck ({reason}), so this one ends, too: start all of "
            "them again with run=DIR; they go on from the newest checkpoint, and nothing that the robot did is lost."
        ) from error
