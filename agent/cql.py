"""CQL and Cal-QL: SAC whose critics stay low where the data say nothing, for learning from recorded data.

CQL: Kumar et al., arXiv:2006.04779. Beside the Bellman error the critics are lowered for actions that the policy, or
nobody, would do, and raised for those of the data. Cal-QL: Nakamoto et al., arXiv:2303.05479: they are not lowered
below what the data were seen to earn, so that values have the right size when the robot goes on by itself.
"""

import math

import torch
from torch import Tensor

from agent.algorithm import Batch, Transitions
from agent.config import InputError
from agent.sac import SAC
from agent.sac_config import SACConfig
from agent.tensors import as_floats
from agent.transition import TransitionSpec


class CQLConfig(SACConfig):
    """As SAC's, and about the conservative term.

    Attributes:
        offline_updates: Updates of critics, actor and temperature on recorded data before the first environment step.
        conservative_weight: Alpha of the term (CQL 5 for locomotion and kitchens, 1 for Adroit hands; 0 is SAC).
        sampled_actions: Of each kind (uniform, the policy's here, the policy's in the next state) per transition. The
            papers take 10; the term's cost grows with it.
        max_target_backup: Whether a target is the best of `sampled_actions` of the policy, instead of one.
        calibrated: Whether the policy's actions are not lowered below the Monte-Carlo return of the data (Cal-QL).
    """

    offline_updates: int = 20_000
    conservative_weight: float = 5.0
    sampled_actions: int = 4
    max_target_backup: bool = False
    calibrated: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if not 0 <= self.conservative_weight <= 1000:
            raise ValueError(
                f"conservative_weight {self.conservative_weight} must lie between 0 (SAC) and 1000"
            )
        if self.sampled_actions < 1:
            raise ValueError(f"sampled_actions {self.sampled_actions} must be at least 1")
        if self.max_target_backup and self.entropy_backup:
            raise ValueError(
                "max_target_backup and entropy_backup exclude each other: set one of them to false"
            )
        if self.max_target_backup and self.critic_head == "gaussian":
            raise ValueError(
                "critic_head gaussian does not say how the best of several actions is spread: choose mse or hl_gauss, "
                "or set max_target_backup to false"
            )
        if self.compile:
            raise ValueError("compile must be false: the conservative term draws its actions inside the loss")

    @property
    def of_recorded_rewards(self) -> tuple[str, ...]:
        """The offline phase learns values, and calibration takes returns."""
        wanted = {"offline_updates=0": self.offline_updates > 0, "calibrated=false": self.calibrated}
        return tuple(change for change, needed in wanted.items() if needed)


class CQL(SAC):
    """The learner's side; satisfies `Algorithm`, `LearnsOffline`, `BeginsFrom` and `NeedsReturns`."""

    Config = CQLConfig
    PRIVILEGED_CRITIC = False
    config: CQLConfig

    def __init__(self, config: CQLConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        super().__init__(config, spec, device, seed)
        self.returns_discount = config.discount if config.calibrated else None

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One update of critics, actor and temperature, as online, on a batch of recorded data."""
        transitions = self._transitions(batch)
        metrics = self.update_critic(transitions) | self.update_actor(transitions.observation)
        return as_floats(metrics)

    def _critic_loss(
        self, transitions: Transitions, noise: Tensor, subset: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Bellman error and conservative term, summed over members."""
        loss, seen = super()._critic_loss(transitions, noise, subset)
        return loss + self.config.conservative_weight * self.conservative_term(transitions), seen

    def conservative_term(self, transitions: Transitions) -> Tensor:
        """Log sum exp Q(s, any action) - Q(s, a), mean over the batch and summed over members (CQL, equation 4).

        The sum over all actions is estimated by importance sampling from a uniform distribution and from the policy in
        this state and the next one (CQL, appendix F).

        Raises:
            InputError: Calibration is asked for, but the batch has no returns.
        """
        features = self.encoder(transitions.observation)
        following = self.encoder(transitions.next_observation)
        rows, samples = features.shape[0], self.config.sampled_actions
        uniform = 2.0 * torch.rand(samples, rows, self._actions, generator=self._generator) - 1.0
        log_uniform = -self._actions * math.log(2.0)
        values = [self._values(features, uniform.to(self._device)) - log_uniform]
        for state in (features, following):
            action, log_density = self._actions_in(state)
            value = self._values(features, action)
            if self.config.calibrated:
                value = torch.maximum(value, _returns(transitions))
            values.append(value - log_density)
        everywhere = torch.cat(values, 1).logsumexp(1) - math.log(3 * samples)  # (E, B)
        return (everywhere - self.critic(features, transitions.action)).mean(-1).sum()

    def _values(self, features: Tensor, action: Tensor) -> Tensor:
        """Of several actions per state, shape (N, B, A): shape (E, N, B)."""
        samples, rows = action.shape[:2]
        flat = self.critic(features.repeat(samples, 1), action.flatten(0, 1))
        return flat.unflatten(1, (samples, rows))

    def _actions_in(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Several of the policy's actions per state, (N, B, A), and their log-densities, (N, B); no gradient."""
        samples, rows = self.config.sampled_actions, features.shape[0]
        with torch.no_grad():
            action, log_density = self._sample(features.repeat(samples, 1), self._noise(samples * rows))
        return action.unflatten(0, (samples, rows)), log_density.unflatten(0, (samples, rows))

    def _next_value(self, features: Tensor, noise: Tensor, subset: Tensor) -> Tensor:
        if not self.config.max_target_backup:
            return super()._next_value(features, noise, subset)
        action, _ = self._actions_in(features)
        samples, rows = action.shape[:2]
        value = self.target_critic(features.repeat(samples, 1), action.flatten(0, 1), subset).min(0).values
        return value.unflatten(0, (samples, rows)).max(0).values


def _returns(transitions: Transitions) -> Tensor:
    if transitions.mc_return is None:
        raise InputError(
            "Cal-QL needs the field mc_return in its batches: the replay must be told its discount."
        )
    return transitions.mc_return
