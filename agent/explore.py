"""ExPLORe: RLPD whose recorded data need no rewards; what is new in them is paid for (arXiv:2311.05067).

Li et al.: what the robot did teaches what is paid, what ends an episode, and what is no longer new. By that the
recorded half of every batch gets rewards and terminations when it is learned from: predicted ones, and a bonus for
what the robot has not done yet. So recorded data without a word of the task still lead to where something may be found.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from agent.algorithm import Batch
from agent.gradients import descend
from agent.networks import mlp
from agent.novelty import Novelty
from agent.sac import SAC
from agent.sac_config import SACConfig
from agent.tensors import (
    Tensors,
    above,
    below,
    detached,
    load_optimizer_state,
    optimizer_state,
    take_over,
)
from agent.transition import Provenance, TransitionSpec

_LABELLERS = ("reward_net", "mask_net", "novelty")


class ExPLOReConfig(SACConfig):
    """As SAC's, and how recorded data are labelled.

    Attributes:
        labels: Rewards of recorded data: a `prediction` learned from what the robot earned, the `minimum` that it ever
            earned, or those `recorded`. With the first two, terminations are predicted as well.
        bonus: Paid beside that for a transition as new as all are at the beginning, in units of reward; less as it
            gets known, and 0 for no optimism. With rewards of -1 until success, 1 makes what is new as good as success,
            whatever the discount and the length of episodes. With rewards of 0 until success a way of T new steps is
            worth up to T times this: 0.3 leads on as well, and is less often mistaken for success.
        label_hidden_sizes: Of the networks that label.
        label_learning_rate: Adam, of the networks that label.
    """

    labels: Literal["prediction", "minimum", "recorded"] = "prediction"
    bonus: float = 1.0
    label_hidden_sizes: tuple[int, ...] = (256, 256, 256)
    label_learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if not 0 <= self.bonus <= 100:
            raise ValueError(f"bonus {self.bonus} must lie between 0 (no optimism) and 100")
        if not self.label_hidden_sizes or min(self.label_hidden_sizes) < 1:
            raise ValueError(f"label_hidden_sizes {self.label_hidden_sizes} must be positive")
        if not 0 < self.label_learning_rate <= 1:
            raise ValueError(f"label_learning_rate {self.label_learning_rate} must lie in (0, 1]")

    @property
    def needs_no_rewards(self) -> bool:
        """Whether recorded data may be without rewards."""
        return self.labels != "recorded"

    @property
    def ends_recorded_anew(self) -> bool:
        """Whether terminations of recorded data are predicted."""
        return self.labels != "recorded"


class ExPLORe(SAC):
    """The learner's side; satisfies `Algorithm`, `LearnsOffline` and `BeginsFrom` of `agent.algorithm`.

    What a person did while the robot learned was paid by the robot's own reward: it is as good as what the policy did,
    and keeps its labels.

    Attributes:
        reward_net: From observation and action to reward.
        mask_net: From observation and action to the logit of going on.
        novelty: Of observation and action.
        earned: Lowest and highest reward of what the robot did, shape (2,).
    """

    Config = ExPLOReConfig
    takes_discount = False  # What it labels recorded steps with is a single step's.
    config: ExPLOReConfig

    def __init__(self, config: ExPLOReConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        super().__init__(config, spec, device, seed)
        inputs, sizes = self.encoder.size + self._actions, config.label_hidden_sizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 2)
            self.reward_net = mlp(inputs, 1, sizes, layer_norm=False).to(device)
            self.mask_net = mlp(inputs, 1, sizes, layer_norm=False).to(device)
            self.novelty = Novelty(inputs, sizes).to(device)
        most = torch.finfo(torch.float32).max  # Not infinite: what a checkpoint holds is finite.
        self.earned = torch.tensor([most, -most], device=device)
        self._labelling = {
            name: torch.optim.Adam(
                [p for p in getattr(self, name).parameters() if p.requires_grad],
                config.label_learning_rate,
                fused=True,
            )
            for name in _LABELLERS
        }

    def update(self, batch: Batch) -> dict[str, float]:
        """Learn to label from what the robot did, label the rest, and go on as RLPD does."""
        inputs = self._inputs(batch)
        metrics = self.learn_labels(batch, inputs)
        return super().update(self.relabel(batch, inputs)) | metrics

    def learn_labels(self, batch: Batch, inputs: Tensor) -> dict[str, float]:
        """A step of reward and mask for each slice, and one of novelty on the last; recorded data teach nothing.

        Args:
            batch: Of `utd_ratio` slices.
            inputs: Observations and actions, shape (N, D).
        """
        self.novelty.scale_by(inputs)
        losses: dict[str, Tensor] = {}
        for k in range(self.utd_ratio):
            rows = slice(k * self.batch_size, (k + 1) * self.batch_size)
            own = batch["provenance"][rows] != Provenance.DEMONSTRATION
            if not own.any():
                continue  # Nobody has acted yet.
            done, reward = inputs[rows][own], batch["reward"][rows][own]
            self.earned = torch.stack(
                [torch.minimum(self.earned[0], reward.min()), torch.maximum(self.earned[1], reward.max())]
            )
            losses["label_reward_loss"] = F.mse_loss(self.reward_net(done)[:, 0], reward)
            goes_on = 1.0 - batch["terminated"][rows][own].float()
            losses["label_mask_loss"] = F.binary_cross_entropy_with_logits(self.mask_net(done)[:, 0], goes_on)
            descend(self._labelling["reward_net"], losses["label_reward_loss"])
            descend(self._labelling["mask_net"], losses["label_mask_loss"])
            if k == self.utd_ratio - 1:
                losses["label_novelty_loss"] = self.novelty.loss(done)
                descend(self._labelling["novelty"], losses["label_novelty_loss"])
        return {name: float(loss.detach()) for name, loss in losses.items()}

    @torch.no_grad()
    def relabel(self, batch: Batch, inputs: Tensor) -> Batch:
        """The batch with other rewards and terminations of recorded data; those of a termination are probabilities."""
        recorded = batch["provenance"] == Provenance.DEMONSTRATION
        reward, terminated = batch["reward"], batch["terminated"].float()
        if self.config.labels != "recorded":
            # Not by arithmetic: rewards that nobody recorded are not numbers.
            reward = torch.where(recorded, self._reward(inputs), reward)
            terminated = torch.where(recorded, 1.0 - self.mask_net(inputs)[:, 0].sigmoid(), terminated)
        if self.config.bonus:
            reward = torch.where(recorded, reward + self.config.bonus * self.novelty(inputs), reward)
        return {**batch, "reward": reward, "terminated": terminated}

    def state_dict(self) -> Tensors:
        """As SAC's, and all that labels."""
        state: Tensors = {"earned": self.earned}
        for name, optimizer in self._labelling.items():
            state |= above(f"{name}.", getattr(self, name).state_dict())
            state |= above(f"optimizer.{name}.", optimizer_state(optimizer))
        return super().state_dict() | detached(state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        super().load_state_dict(state)
        self.earned = state["earned"].to(self._device).nan_to_num()  # Older checkpoints have infinities.
        for name, optimizer in self._labelling.items():
            getattr(self, name).load_state_dict(below(f"{name}.", state))
            load_optimizer_state(optimizer, below(f"optimizer.{name}.", state))

    def begin_from(self, state: Mapping[str, Tensor]) -> None:
        """As `SAC.begin_from`; and what labels, if the other run labelled: what it did is not new.

        Raises:
            InputError: A network is of another architecture.
        """
        super().begin_from(state)
        if "earned" in state:
            for name in _LABELLERS:
                take_over(getattr(self, name), name, state)
            self.earned = state["earned"].to(self._device).nan_to_num()

    def _inputs(self, batch: Batch) -> Tensor:
        return torch.cat([self.encoder(self._observation(batch, "observation")), batch["action"]], -1)

    def _reward(self, inputs: Tensor) -> Tensor:
        """Of recorded transitions without their bonus, shape (N,); 0 before the robot has earned anything."""
        low, high = self.earned
        if low > high:
            return torch.zeros_like(inputs[:, 0])
        if self.config.labels == "minimum":
            return low.expand(len(inputs))
        # Where the robot never was, a network says anything; what nobody ever earned is not expected.
        predicted: Any = self.reward_net(inputs)[:, 0]
        return predicted.clamp(low, high)
