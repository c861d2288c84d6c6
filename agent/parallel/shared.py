"""An algorithm whose updates several processes make together; the learner of the first one sees no difference."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import gymnasium
import msgspec
import numpy as np
import torch
from torch import Tensor

from agent.algorithm import Batch
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_algorithm
from agent.config import InputError
from agent.parallel.ranks import RankLostError, Ranks, device_of
from agent.parallel.share import Share
from agent.processor import use_processor
from agent.tensors import Tensors, below
from agent.transition import TransitionSpec
from agent.weights import decode_weights, encode_weights

_Update = Literal["update", "learn_offline"]


class _Plan(msgspec.Struct):
    """What the other processes are told first: what to learn with."""

    algorithm: AlgorithmConfig
    device: str
    threads: int


class _Field(NamedTuple):
    """One of a batch: name, type as torch calls it, shape of a row."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class _Order(msgspec.Struct):
    """What the other processes are told later.

    Attributes:
        do: Learn from a batch that is about to be handed out; take over the state that is told next; say whether they
            have the state with this process; end.
        rows: Of each part of the batch.
        fields: Of the batch.
    """

    do: Literal[_Update, "take", "compare", "end"]
    rows: int = 0
    fields: list[_Field] = []


def refuse_to_split(choice: AlgorithmConfig, processes: int) -> None:
    """See that an algorithm learns the same from parts of its batches as from whole ones.

    Raises:
        InputError: It does not, or nobody has said so of it.
    """
    algorithm, config = load_algorithm(choice)
    reason = vars(algorithm).get("needs_whole_batches")
    if reason is None:
        raise InputError(
            f"algorithm={choice.name} learns in one process: whether it may learn from parts of batches, nobody has "
            "said of it (needs_whole_batches, docs/scaling.md); use rlpd, sac, wsrl, drq, iql or bc, or one process."
        )
    if (why := reason.__func__(config)) is not None:
        raise InputError(f"algorithm={choice.name} learns in one process as it is configured: {why}.")
    if config.batch_size % processes:
        raise InputError(
            f"algorithm.config.batch_size {config.batch_size} cannot be split into {processes} equal parts: choose a "
            "multiple of the number of processes."
        )


class SharedAlgorithm:
    """Of the first process. Satisfies `Algorithm` and what the algorithm inside satisfies, but for `TellsErrors`.

    The others take over the state before their first update, and whenever another one was loaded. So only this
    process needs to know of checkpoints.

    Args:
        algorithm: As `make_algorithm` makes it; belongs to this from here on.
        choice: What made it.
        spec: Layout of transitions.
        device: Where it learns.
        ranks: All processes.

    Raises:
        InputError: See `refuse_to_split`.
        RankLostError: From everything that learns, and from `state_dict`.
    """

    def __init__(
        self,
        algorithm: Any,
        choice: AlgorithmConfig,
        spec: TransitionSpec,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        refuse_to_split(choice, ranks.here.count)
        self._algorithm, self._ranks, self._device = algorithm, ranks, device
        self.batch_size, self.utd_ratio = algorithm.batch_size, algorithm.utd_ratio
        self.offline_updates = getattr(algorithm, "offline_updates", 0)
        self.kept_of_frames = getattr(algorithm, "kept_of_frames", None)
        self.returns_discount = getattr(algorithm, "returns_discount", None)
        ranks.tell(msgspec.json.encode(_Plan(choice, device.type, torch.get_num_threads())))
        ranks.tell(encode_weights(_described(spec)))
        ranks.use(device_of(device.type, ranks.here.local_rank))
        _split(algorithm, ranks)
        self._others_differ = True

    def update(self, batch: Batch) -> dict[str, float]:
        """As the algorithm would, up to rounding; metrics are means over the processes."""
        return self._learn("update", batch)

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """As the algorithm would, up to rounding; metrics are means over the processes."""
        return self._learn("learn_offline", batch)

    def policy_weights(self) -> Tensors:
        """As of the algorithm."""
        weights: Tensors = self._algorithm.policy_weights()
        return weights

    def state_dict(self) -> Tensors:
        """As of the algorithm, once the others have the same.

        Raises:
            RankLostError: They have not, and then a checkpoint of it would be worth nothing.
        """
        state: Tensors = self._algorithm.state_dict()
        if not self._others_differ:
            self._tell(_Order("compare"))
            _compare(state, self._ranks)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """As of the algorithm."""
        self._algorithm.load_state_dict(state)
        self._others_differ = True

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """As of the algorithm."""
        if not hasattr(self._algorithm, "begin_from"):
            raise InputError("this algorithm cannot begin with the policy of another run: leave out init.")
        self._algorithm.begin_from(state)
        self._others_differ = True

    def _learn(self, how: _Update, batch: Batch) -> dict[str, float]:
        if self._others_differ:
            self._tell(_Order("take"))
            self._ranks.tell(encode_weights(self._algorithm.state_dict()))
            self._others_differ = False
        fields = _fields_of(batch)
        rows = len(batch["action"]) // self._ranks.here.count
        self._tell(_Order(how, rows, fields))
        parts = [
            _packed({f.name: self._part(rank).own(batch[f.name]) for f in fields})
            for rank in range(self._ranks.here.count)
        ]
        return _learn_from(self._algorithm, _Order(how, rows, fields), self._ranks, self._device, parts)

    def _part(self, rank: int) -> Share:
        count = self._ranks.here.count
        return Share(rank, count, self.batch_size // count)

    def _tell(self, order: _Order) -> None:
        self._ranks.tell(msgspec.json.encode(order))


def dismiss(ranks: Ranks) -> None:
    """Of the first process: let the others end. They must not be in the middle of an update."""
    ranks.tell(msgspec.json.encode(_Order("end")))


def follow(ranks: Ranks) -> Any:
    """Of any other process: do what the first one tells, until it says end.

    Returns:
        The algorithm as it is then.

    Raises:
        InputError: Here is no GPU for it, or the algorithm cannot be made here.
        RankLostError: Another process has ended or is stuck.
    """
    plan = msgspec.json.decode(ranks.hear(), type=_Plan)
    spec = _spec_from(decode_weights(ranks.hear()))
    use_processor(plan.threads)
    device = device_of(plan.device, ranks.here.local_rank)
    ranks.use(device)
    algorithm: Any = make_algorithm(plan.algorithm, spec, device, 0)
    _split(algorithm, ranks)
    while (order := msgspec.json.decode(ranks.hear(), type=_Order)).do != "end":
        if order.do == "take":
            algorithm.load_state_dict(decode_weights(ranks.hear()))
        elif order.do == "compare":
            _compare(algorithm.state_dict(), ranks)
        else:
            _learn_from(algorithm, order, ranks, device)
    return algorithm


def _split(algorithm: Any, ranks: Ranks) -> None:
    """Let an algorithm learn from its part of each batch, by gradients of all of them."""
    here = ranks.here
    algorithm.learn_from(Share(here.rank, here.count, algorithm.batch_size // here.count))
    for optimizer in algorithm.optimizers():
        optimizer.register_step_pre_hook(ranks.average_gradients)


def _learn_from(
    algorithm: Any, order: _Order, ranks: Ranks, device: torch.device, parts: list[Tensor] | None = None
) -> dict[str, float]:
    """One update, of which every process makes its part; the first one has them all."""
    own = torch.empty(order.rows * _row_bytes(order.fields), dtype=torch.uint8, device=device)
    ranks.scatter(own, parts)
    return ranks.average(getattr(algorithm, order.do)(_unpacked(own, order)))


def _compare(state: Tensors, ranks: Ranks) -> None:
    if not ranks.have_the_same(encode_weights(state)):
        raise RankLostError(
            "The processes of this learner do not have the same networks any more, so nothing of them is saved: give "
            "all of them GPUs of one kind and the same version of torch, and go on with run=DIR."
        )


def _fields_of(batch: Batch) -> list[_Field]:
    """Widest types first, so that each lies where its type may lie."""
    fields = [_Field(n, str(v.dtype).removeprefix("torch."), tuple(v.shape[1:])) for n, v in batch.items()]
    return sorted(fields, key=lambda field: -_type(field).itemsize)


def _type(field: _Field) -> torch.dtype:
    found: torch.dtype = getattr(torch, field.dtype)
    return found


def _row_bytes(fields: list[_Field]) -> int:
    return sum(_type(field).itemsize * int(np.prod(field.shape, dtype=int)) for field in fields)


def _packed(batch: Batch) -> Tensor:
    """All fields as bytes, one after the other."""
    return torch.cat([values.contiguous().view(-1).view(torch.uint8) for values in batch.values()])


def _unpacked(content: Tensor, order: _Order) -> Batch:
    """The inverse of `_packed`, without a copy."""
    sizes = [order.rows * _row_bytes([field]) for field in order.fields]
    return {
        field.name: part.view(_type(field)).view(order.rows, *field.shape)
        for field, part in zip(order.fields, content.split(sizes), strict=True)
    }


def _described(spec: TransitionSpec) -> Tensors:
    """Bounds of all spaces, by names that keep their order."""
    spaces = [*spec.observation_space.spaces.items(), ("", spec.action_space)]
    return {
        f"{number:03d}.{side}.{key}": torch.from_numpy(np.array(getattr(space, side)))
        for number, (key, space) in enumerate(spaces)
        for side in ("low", "high")
    }


def _spec_from(bounds: Tensors) -> TransitionSpec:
    """The inverse of `_described`."""
    spaces = {}
    for name in sorted(name for name in bounds if name[4:].startswith("low.")):
        low, high = bounds[name].numpy(), next(iter(below(f"{name[:4]}high.", bounds).values())).numpy()
        spaces[name[8:]] = gymnasium.spaces.Box(low, high, dtype=low.dtype.type)
    action = spaces.pop("")
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), action)
