"""Rewards that keep learning while the policy does: of success or demonstration, against what the policy does.

VICE (Fu et al., arXiv:1805.11686; on robots Singh et al., arXiv:1904.07854): a classifier of states, with examples of
success as positives and the policy's own states as negatives. DAC (Kostrikov et al., arXiv:1809.02925), the off-policy
form of GAIL (arXiv:1606.03476): a discriminator of states and actions, with demonstrations as positives. Both with a
gradient penalty after WGAN-GP (arXiv:1704.00028), without which a discriminator of few positives says only yes or no.
Unlike there it is one-sided, and what slope is allowed can be chosen: how far success reaches differs between tasks.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.encoders import EncoderConfig, make_encoder
from agent.gradients import descend
from agent.tensors import Tensors, above, below, detached, load_optimizer_state, optimizer_state
from agent.transition import Provenance, Records, TransitionSpec
from controllers.config import Config, InputError, read
from reward_models.judged import STATE, judged_spec, state_entries
from robot_env.contracts import Observation, Reward
from robot_env.env import RobotEnv


class AdversarialConfig(Config):
    """How such a reward is learned.

    Attributes:
        method: `vice` takes the last observation of every successful demonstration as success, and lets nothing end an
            episode but its time. `dac` takes all transitions of the demonstrations, and lets success end an episode.
        floor: Both pay the logarithm of the probability divided by this, and at least -1: so between -1, far from what
            is wanted, and 0, as the sparse reward of a task does. The logarithm because the policy's own successes are
            negatives, too: the better it is, the less probable they look, but still less improbable than all else.
        state: Parts of the `state` vector that are judged, such as `goal_from_ee`; all if null, none if empty (then
            there must be cameras). What success does not depend on should be left out: of few positives that all came
            in motion, an arm that rests at the goal is told by its speed.
        hidden_sizes: Of the discriminator.
        learning_rate: Adam.
        batch_size: Positives, and as many negatives, of an update; there is one update for each environment step.
        gradient_penalty: Weight of the squared share by which the logit's slope exceeds `largest_slope`.
        largest_slope: Change of the logit for each unit of features; the `state` vector is scaled to about one.
            Steeper, and few positives are told apart one by one: with 20, VICE on `reach` fell from 90 to 48 %.
        label_smoothing: Positives are taught as 1 - this.
        encoder: Of camera images, where the task has any.
    """

    method: Literal["vice", "dac"] = "vice"
    floor: float = 5.0
    state: tuple[str, ...] | None = None
    hidden_sizes: tuple[int, ...] = (128, 128)
    learning_rate: float = 3e-4
    batch_size: int = 64
    gradient_penalty: float = 10.0
    largest_slope: float = 5.0
    label_smoothing: float = 0.1
    encoder: EncoderConfig = EncoderConfig()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.hidden_sizes or min(self.hidden_sizes) < 1 or self.batch_size < 2:
            raise ValueError(
                f"hidden_sizes {self.hidden_sizes} must be positive and batch_size {self.batch_size} at least 2"
            )
        if not 0.0 < self.learning_rate <= 1.0 or not 0.0 < self.largest_slope < np.inf:
            raise ValueError(
                f"learning_rate {self.learning_rate} must lie in (0, 1] and largest_slope {self.largest_slope} must be "
                "positive"
            )
        if not 0.0 <= self.gradient_penalty < np.inf or not 0.0 < self.floor < np.inf:
            raise ValueError(
                f"gradient_penalty {self.gradient_penalty} must not be negative, and floor {self.floor} must be "
                "positive"
            )
        if not 0.0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing {self.label_smoothing} must lie in [0, 0.5)")


class AdversarialReward:
    """Satisfies `agent.algorithm.RewardLearner`.

    Args:
        config: How it learns.
        spec: Layout of transitions.
        state_names: Names of the entries of the `state` vector, as `RobotEnv.state_names`.
        demonstrations: Of them come the positives.
        device: The learner's.
        seed: Of initial weights and of what is drawn.

    Raises:
        InputError: There are no positives, or the `state` vector has no such part.
    """

    def __init__(
        self,
        config: AdversarialConfig,
        spec: TransitionSpec,
        state_names: Sequence[str],
        demonstrations: Records,
        device: torch.device,
        seed: int,
    ) -> None:
        self._config = config
        self._device = device
        entries = state_entries(config.state, state_names, "reward.learner_config.state")
        self._entries = torch.tensor(entries, device=device)
        judged = judged_spec(spec, len(entries), spec.image_keys, "reward.learner_config.state")
        self._keys = judged.observation_keys
        self._with_action = config.method == "dac"
        self._prefix = "observation" if self._with_action else "next_observation"
        self._positives = self._positives_of(demonstrations)
        actions = int(np.prod(spec.action_space.shape)) if self._with_action else 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = make_encoder(config.encoder, judged).to(device)
            sizes = [self.encoder.size + actions, *config.hidden_sizes]
            layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
            self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], 1)).to(device)
        learning = [p for p in (*self.encoder.parameters(), *self.head.parameters()) if p.requires_grad]
        self._optimizer = torch.optim.Adam(learning, config.learning_rate)
        self._generator = torch.Generator().manual_seed(seed + 1)

    def update(self, batch: Batch) -> dict[str, float]:
        """One step: positives against what the policy did. Where a batch has nothing of it, the step is put off.

        Returns:
            Metrics: the loss, and which share of either side is told apart.
        """
        who = batch["provenance"]
        own = ((who != Provenance.DEMONSTRATION) & (who != Provenance.HUMAN)).nonzero()[:, 0]
        if len(own) == 0:
            return {}
        rows = self._config.batch_size
        drawn = torch.randint(len(own), (rows,), generator=self._generator).to(own.device)
        negative = self._features(batch, own[drawn])
        chosen = torch.randint(len(self._positives["action"]), (rows,), generator=self._generator)
        positive = self._features(self._positives, chosen.to(self._device))
        yes, no = self.head(positive), self.head(negative)
        smooth = 1.0 - self._config.label_smoothing
        loss = F.binary_cross_entropy_with_logits(yes, torch.full_like(yes, smooth))
        loss = loss + F.binary_cross_entropy_with_logits(no, torch.zeros_like(no))
        penalty = self._penalty(positive.detach(), negative.detach())
        descend(self._optimizer, loss + self._config.gradient_penalty * penalty)
        return {
            "reward_loss": float(loss.detach()),
            "reward_positives_seen": float((yes > 0).float().mean()),
            "reward_negatives_seen": float((no < 0).float().mean()),
        }

    @torch.no_grad()
    def relabel(self, batch: Batch) -> Batch:
        """The batch as this reward pays it.

        With `vice` nothing ends: what comes after success is paid, too, so that a demonstration, which ends with
        success, is no better and no worse than a policy that stays there.
        """
        every = torch.arange(len(batch["action"]), device=batch["action"].device)
        logit = self.head(self._features(batch, every))[:, 0]
        reward = (F.logsigmoid(logit) / self._config.floor).clamp(min=-1.0)
        if self._with_action:
            return {**batch, "reward": reward}
        return {**batch, "reward": reward, "terminated": torch.zeros_like(batch["terminated"])}

    def state_dict(self) -> Tensors:
        """Networks, optimiser and random state, flat."""
        state: Tensors = {"generator": self._generator.get_state()}
        for name in ("encoder", "head"):
            state |= above(f"{name}.", getattr(self, name).state_dict())
        return detached(state | above("optimizer.", optimizer_state(self._optimizer)))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self._generator.set_state(state["generator"])
        for name in ("encoder", "head"):
            getattr(self, name).load_state_dict(below(f"{name}.", state))
        load_optimizer_state(self._optimizer, below("optimizer.", state))

    def _positives_of(self, demonstrations: Records) -> Batch:
        rows = demonstrations if self._with_action else demonstrations[demonstrations["terminated"]]
        if len(rows) == 0:
            success = "demonstration that ends with success, of which it is known what that looks like"
            wanted = "demonstration" if self._with_action else success
            raise InputError(
                f"reward.learner_config.method {self._config.method} needs at least one {wanted}, but there is none: "
                "record some with journeyman collect, and set demonstrations.episodes."
            )
        names = [f"{self._prefix}.{key}" for key in self._keys]
        return {name: torch.from_numpy(np.array(rows[name])).to(self._device) for name in (*names, "action")}

    def _features(self, batch: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        observation = {key: batch[f"{self._prefix}.{key}"][rows] for key in self._keys}
        if STATE in observation:
            observation[STATE] = observation[STATE][:, self._entries]
        features: Tensor = self.encoder(observation)
        return torch.cat([features, batch["action"][rows]], -1) if self._with_action else features

    def _penalty(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Of slopes between positives and negatives."""
        share = torch.rand(len(positive), 1, generator=self._generator).to(self._device)
        between = (share * positive + (1.0 - share) * negative).requires_grad_()
        (gradient,) = torch.autograd.grad(self.head(between).sum(), between, create_graph=True)
        return F.relu(gradient.norm(dim=-1) / self._config.largest_slope - 1.0).square().mean()


class Unjudged:
    """Pays nothing and ends nothing: what is paid is decided where it is learned. Implements `RewardModel`."""

    def reward(self, observation: Observation) -> Reward:
        """Nothing."""
        return Reward(0.0, False)


def make_unjudged(env: RobotEnv, config: Mapping[str, Any]) -> Unjudged:
    """Factory of what stands in the environment for a reward that learns.

    Raises:
        InputError: There are parameters.
    """
    if config:
        raise InputError(
            f"reward.config {dict(config)} is not understood here: say it in reward.learner_config."
        )
    return Unjudged()


def make_adversarial_reward(
    config: Mapping[str, Any],
    spec: TransitionSpec,
    state_names: Sequence[str],
    demonstrations: Records,
    device: torch.device,
    seed: int,
) -> AdversarialReward:
    """Factory named by `reward=vice` and `reward=dac`.

    Raises:
        InputError: `config` is not an `AdversarialConfig` or does not fit the task, or there are no positives.
    """
    chosen = read(AdversarialConfig, config, "reward.learner_config")
    return AdversarialReward(chosen, spec, state_names, demonstrations, device, seed)
