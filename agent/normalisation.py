"""Vector observations with the mean and the spread of recorded data taken out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from agent.config import InputError
from agent.networks import VectorEncoder
from agent.tensors import Tensors
from agent.transition import TransitionSpec

_LEAST_DEVIATION = 1e-3  # TD3+BC, section 5: what is added to every deviation.
_CONSTANT = 1e-6  # Deviation of an entry that never changed, up to rounding.


def check_normalisation(normalise: bool, over: int, offline_updates: int) -> None:
    """Refuse statistics that would never be whole.

    Raises:
        ValueError: There are too few calls of `learn_offline` to estimate them and learn afterwards.
    """
    if over < 1:
        raise ValueError(f"normalise_over {over} must be at least 1")
    if normalise and offline_updates <= over:
        raise ValueError(
            f"offline_updates {offline_updates} must be more than normalise_over {over}, which go into the statistics: "
            "raise the one, lower the other, or leave normalise_observations out"
        )


class NormalisedVectors(VectorEncoder):
    """All vector observations side by side, each entry as (value - mean) / (deviation + 0.001).

    TD3+BC (arXiv:2106.06860, section 5), and RIQL (arXiv:2310.12955), for which it is half of the robustness. An entry
    that never changes in the data keeps its unit: online it may move a little, and that must not look like much.

    Args:
        spec: Names and sizes of the observations.
        over: Batches of recorded data to estimate from; 0 leaves observations as they are.
        algorithm: Whose encoder it is, for people.

    Raises:
        InputError: There are camera images among the observations.
    """

    mean: Tensor
    variance: Tensor
    _shift: Tensor
    _scale: Tensor

    def __init__(self, spec: TransitionSpec, over: int, algorithm: str) -> None:
        if spec.image_keys:
            raise InputError(
                f"{algorithm} learns from vectors, but the task has cameras {list(spec.image_keys)}: use "
                "algorithm=drq, or leave the cameras out."
            )
        super().__init__(spec)
        self._over = over
        self._batches = 0
        # In double precision: the variance of positions in metres is small beside their squares.
        self.register_buffer("mean", torch.zeros(self.size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(self.size, dtype=torch.float64))
        self._freeze()

    @property
    def is_estimating(self) -> bool:
        """Whether batches are still to be shown to `estimate`, and nothing is to be learned."""
        return self._batches < self._over

    def estimate(self, observation: Mapping[str, Tensor]) -> None:
        """Take one batch, shape (B, ...) by key, into the statistics; B must be the same in every call."""
        values = super().forward(observation).double()
        mean, variance = values.mean(0), values.var(0, correction=0)
        share = 1.0 / (self._batches + 1)
        moved = mean - self.mean
        # Of two groups together: the variance within them, and that between their means.
        self.variance.lerp_(variance, share).add_(moved.square(), alpha=share * (1.0 - share))
        self.mean.lerp_(mean, share)
        self._batches += 1
        self._freeze()

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features, shape (B, D)."""
        values = super().forward(observation)
        return (values - self._shift) / self._scale if self._over else values

    def learned_state(self) -> Tensors:
        """The statistics, if there are any."""
        batches = torch.tensor(self._batches)
        return {"mean": self.mean, "variance": self.variance, "batches": batches} if self._over else {}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `learned_state` gave."""
        if self._over:
            self.mean.copy_(state["mean"])
            self.variance.copy_(state["variance"])
            self._batches = int(state["batches"])
            self._freeze()

    def take_over(self, state: Mapping[str, Tensor]) -> None:
        """Take over the statistics of another run, whose networks expect them: they are whole, and stay as they are.

        Raises:
            InputError: Only one of the two runs has some.
        """
        if bool(state) != bool(self._over):
            here, there = ("has" if has else "has no" for has in (self._over, state))
            raise InputError(
                f"The checkpoint {there} encoder.mean and this run {here}: give both the same normalise_observations."
            )
        self.load_learned_state(state)
        self._batches = self._over  # Also where that run estimated from fewer.

    def _freeze(self) -> None:
        """What `forward` needs, in the precision of the networks."""
        deviation = self.variance.sqrt()
        scale = torch.where(deviation > _CONSTANT, deviation + _LEAST_DEVIATION, 1.0)
        self.register_buffer("_shift", self.mean.float(), persistent=False)
        self.register_buffer("_scale", scale.float(), persistent=False)
