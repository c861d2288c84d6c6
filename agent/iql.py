"""IQL: learning from recorded data without ever asking what an action is worth that is not in it.

IQL: Kostrikov et al., arXiv:2110.06169. RIQL's options for data that are partly wrong: Yang et al., arXiv:2310.12955.
The value of a state is an upper expectile of what the recorded actions are worth there, so pieces of different
episodes are joined to a better one than any of them; the policy clones the actions that are better than that. Nothing
changes when the robot begins to act: each batch then holds its own experience, too.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.algorithm import Batch
from agent.networks import CriticEnsemble, mlp
from agent.normalisation import NormalisedVectors
from agent.offline import OfflineAlgorithm, OfflineConfig, OfflinePolicy
from agent.transition import TransitionSpec, count_actions

_GREATEST_WEIGHT = 100.0  # Of an action in the policy's loss, as in IQL's code.
_LOG_STD_MIN, _LOG_STD_MAX = -5.0, 2.0  # As in IQL's code.


class IQLConfig(OfflineConfig):
    """Defaults are IQL's, with a discount for episodes of tens of steps.

    Attributes:
        expectile: Of the worth of recorded actions, which is taken for the value of a state: 0.5 their mean, which
            evaluates who recorded them, near 1 their best. IQL 0.7 for locomotion, 0.9 for mazes.
        temperature: How much better actions count for more in the policy: exp(temperature * advantage), which is 0 for
            plain cloning. An advantage has the size of the rewards. IQL 3, 10 for mazes.
        critics: Size of the ensemble (IQL 2, RIQL 5).
        critic_loss: `mse`, or `huber`, which lets targets that are far off pull no harder than ones at `huber_delta`.
        huber_delta: Error beyond which the loss is linear.
        target_quantile: Of the target critics, 0 to 1, for the worth of an action; None takes the minimum. With many
            critics the minimum is too low wherever data are corrupted (RIQL 0.1 to 0.25).
        state_dependent_std: Whether the spread of the policy depends on the state.
    """

    expectile: float = 0.7
    temperature: float = 3.0
    critics: int = 2
    critic_loss: str = "mse"
    huber_delta: float = 1.0
    target_quantile: float | None = None
    state_dependent_std: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if self.critics < 1:
            raise ValueError(f"critics {self.critics} must be at least 1")
        if not 0 < self.expectile < 1:
            raise ValueError(f"expectile {self.expectile} must lie between 0 and 1, both excluded")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature} must be a number that is not negative")
        if self.critic_loss not in ("mse", "huber"):
            raise ValueError(f"critic_loss {self.critic_loss!r} must be mse or huber")
        if not 0 < self.huber_delta < math.inf:
            raise ValueError(f"huber_delta {self.huber_delta} must be a positive number")
        if self.target_quantile is not None and not 0 <= self.target_quantile <= 1:
            raise ValueError(f"target_quantile {self.target_quantile} must lie in [0, 1], or be null")


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Mean of |expectile - [error < 0]| * error^2 (IQL, section 4.1); its minimum is at the expectile."""
    weight = torch.where(error < 0, 1.0 - expectile, expectile)
    return (weight * error.square()).mean()


def advantage_weights(advantage: Tensor, temperature: float) -> Tensor:
    """How much each action counts in the policy's loss (IQL, equation 7), shape as given."""
    return (temperature * advantage).exp().clamp(max=_GREATEST_WEIGHT)


def worth(values_EB: Tensor, quantile: float | None) -> Tensor:  # noqa: N803
    """What an ensemble makes of an action, shape (B,): a quantile, interpolated (RIQL), or the minimum (IQL)."""
    return values_EB.min(0).values if quantile is None else values_EB.quantile(quantile, dim=0)


class IQLActor(nn.Module):
    """Gaussian about a squashed mean, itself not squashed, as in IQL's code.

    So recorded actions at exactly -1 or 1 have a likelihood, which after squashing would be infinitely far away.
    """

    def __init__(self, config: IQLConfig, inputs: int, actions: int) -> None:
        super().__init__()
        outputs = 2 * actions if config.state_dependent_std else actions
        self.net = mlp(inputs, outputs, config.hidden_sizes, config.layer_norm)
        self.log_std = None if config.state_dependent_std else nn.Parameter(torch.zeros(actions))

    def forward(self, state_BD: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """Mean in [-1, 1], and log standard deviation, each of shape (B, A)."""
        if self.log_std is None:
            mean, log_std = self.net(state_BD).chunk(2, -1)
            return mean.tanh(), log_std.clamp(_LOG_STD_MIN, _LOG_STD_MAX)
        mean = self.net(state_BD).tanh()
        return mean, self.log_std.expand_as(mean)

    def log_likelihood(self, state_BD: Tensor, action_BA: Tensor) -> Tensor:  # noqa: N803
        """Log-density of actions, shape (B,)."""
        mean, log_std = self(state_BD)
        normal = (action_BA - mean) / log_std.exp()
        return (-0.5 * normal.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def confine(self) -> None:
        """Put a spread that left its limits back on them.

        A limit inside the loss would stop its gradient, and what once was too narrow would stay so.
        """
        if self.log_std is not None:
            with torch.no_grad():
                self.log_std.clamp_(_LOG_STD_MIN, _LOG_STD_MAX)


def _make_actor_side(config: IQLConfig, spec: TransitionSpec) -> tuple[NormalisedVectors, IQLActor]:
    encoder = NormalisedVectors(spec, config.normalise_over if config.normalise_observations else 0, "IQL")
    return encoder, IQLActor(config, encoder.size, count_actions(spec))


class IQLPolicy(OfflinePolicy):
    """The actor's side.

    Args:
        config: Parameters.
        spec: Layout of observations and actions.
        seed: Of the noise.
    """

    def __init__(self, config: IQLConfig, spec: TransitionSpec, seed: int) -> None:
        super().__init__(*_make_actor_side(config, spec), spec, seed)

    def _choose(self, features: Tensor, deterministic: bool) -> Tensor:
        mean, log_std = self.actor(features)
        return mean if deterministic else mean + log_std.exp() * self._noise(mean)


class IQL(OfflineAlgorithm):
    """The learner's side; nothing random happens after the start.

    Raises:
        InputError: There are cameras, or actions are not in [-1, 1].
    """

    Config = IQLConfig
    NETWORKS = ("actor", "value", "critic", "target_critic")
    actor: IQLActor

    def __init__(self, config: IQLConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder, actor = _make_actor_side(config, spec)
            super().__init__(config, spec, encoder.to(device), actor.to(device))
            inputs, sizes = encoder.size + count_actions(spec), (config.hidden_sizes, config.layer_norm)
            self.value = mlp(encoder.size, 1, *sizes).to(device)
            self.critic = CriticEnsemble(config.critics, inputs, *sizes).to(device)
            self.target_critic = CriticEnsemble(config.critics, inputs, *sizes).to(device)
        self.target_critic.requires_grad_(False).load_state_dict(self.critic.state_dict())
        self._optimize("value", config.critic_learning_rate)
        self._optimize("critic", config.critic_learning_rate)
        self._optimize("actor", config.actor_learning_rate)

    @staticmethod
    def make_policy(config: IQLConfig, spec: TransitionSpec, seed: int) -> IQLPolicy:
        """The actor's side."""
        return IQLPolicy(config, spec, seed)

    @staticmethod
    def needs_whole_batches(config: IQLConfig) -> str | None:
        """See `agent.algorithm.SplitsBatches`."""
        if config.normalise_observations:
            return "algorithm.config.normalise_observations must be false, as it takes statistics of whole batches"
        return None

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """One step of each network, in the order of IQL's code."""
        state, action = self.encoder(self._observation(batch, "observation")), batch["action"]
        worths = worth(self.target_critic(state, action), self.config.target_quantile)
        value_loss = expectile_loss(worths - self._value_of(state), self.config.expectile)  # Equation 5.
        self._step("value", value_loss)
        with torch.no_grad():
            value = self._value_of(state)
            next_value = self._value_of(self.encoder(self._observation(batch, "next_observation")))
            target = batch["reward"] + self._going_on(batch) * next_value
            weights = advantage_weights(worths - value, self.config.temperature)
        actor_loss = -(weights * self.actor.log_likelihood(state, action)).mean()
        self._step("actor", actor_loss)
        self.actor.confine()
        critic_loss = self.critic_loss(self.critic(state, action), target)
        self._step("critic", critic_loss)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.target_critic.parameters()), list(self.critic.parameters()), self.config.target_rate
            )
        return {
            "critic_loss": critic_loss.detach(),
            "value_loss": value_loss.detach(),
            "actor_loss": actor_loss.detach(),
            "value": value.mean(),
            "weight": weights.mean(),
        }

    def critic_loss(self, values_EB: Tensor, target_B: Tensor) -> Tensor:  # noqa: N803
        """Distance from r + gamma V(s'), IQL's equation 6, summed over members, so that each learns as if alone."""
        target = target_B.expand_as(values_EB)
        if self.config.critic_loss == "mse":
            losses = F.mse_loss(values_EB, target, reduction="none")
        else:  # RIQL's Huber loss is divided by delta: e^2 / (2 delta) up to delta, then |e| - delta / 2.
            losses = F.smooth_l1_loss(values_EB, target, reduction="none", beta=self.config.huber_delta)
        return losses.mean(-1).sum()

    def _value_of(self, state: Tensor) -> Tensor:
        return self.value(state).squeeze(-1)
