"""Networks shared by the algorithms. Shape suffixes: B batch, E ensemble member, D features, A action."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.config import InputError
from agent.critic_heads import CriticHead, MSEHead
from agent.transition import TransitionSpec

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # As in the SAC paper's code: wide enough never to bind in practice.


def refuse_privileged(spec: TransitionSpec) -> None:
    """Refuse to mix what no policy may see with what it sees.

    Raises:
        InputError: There is such a thing.
    """
    if spec.is_privileged:
        raise InputError(
            "This algorithm has no critic of its own for task.privileged: choose algorithm=rlpd, sac or drq, or set "
            "task.privileged=[]."
        )


class VectorEncoder(nn.Module):
    """All vector observations side by side; has no parameters.

    Args:
        spec: Their names and sizes.

    Attributes:
        size: D, entries in all.

    Raises:
        InputError: There are camera images among the observations, or what no policy may see.
    """

    def __init__(self, spec: TransitionSpec) -> None:
        super().__init__()
        refuse_privileged(spec)
        if spec.image_keys:
            raise InputError(
                f"This algorithm learns from vectors, not from the images {list(spec.image_keys)}: choose "
                "algorithm=drq, or leave out task.cameras."
            )
        self._keys = spec.observation_keys
        self.size = sum(math.prod(spec.dtype[f"observation.{key}"].shape) for key in self._keys)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features, shape (B, D)."""
        parts = [observation[key].flatten(1) for key in self._keys]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def learned_state(self) -> dict[str, Tensor]:
        """Nothing is learned here."""
        return {}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing is learned here."""


class EnsembleLinear(nn.Module):
    """E independent linear layers evaluated by one batched matrix product."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        # The initialisation of torch.nn.Linear, per member.
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x_EBD: Tensor, members: Tensor | None = None) -> Tensor:  # noqa: N803
        """Shape (E, B, inputs) -> (E, B, outputs); `members` evaluates only those, in that order."""
        if members is None:
            return torch.baddbmm(self.bias, x_EBD, self.weight)
        return torch.baddbmm(self.bias[members], x_EBD, self.weight[members])

    def of_one_column(self, x_EBD: Tensor, members: Tensor | None = None) -> Tensor:  # noqa: N803
        """The same where there is one output: products with one column take twice as long as the sum written out."""
        every = slice(None) if members is None else members
        return (x_EBD * self.weight[every].mT).sum(-1, keepdim=True) + self.bias[every]


class EnsembleLayerNorm(nn.Module):
    """Layer normalisation with parameters of its own for each member."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, size))
        self.bias = nn.Parameter(torch.zeros(members, 1, size))

    def forward(self, x_EBD: Tensor, members: Tensor | None = None) -> Tensor:  # noqa: N803
        """Shape (E, B, size), unchanged."""
        normal = F.layer_norm(x_EBD, x_EBD.shape[-1:])
        if members is None:
            return normal * self.weight + self.bias
        return normal * self.weight[members] + self.bias[members]


class CriticEnsemble(nn.Module):
    """E action-value networks Q(s, a).

    LayerNorm bounds the value of actions outside the data, which keeps training with demonstrations and many
    updates per step stable (RLPD, arXiv:2302.02948, section 4.2).

    Args:
        members: E.
        inputs: Features and actions.
        hidden_sizes: Of each member.
        layer_norm: Whether each hidden layer has one.
        readout: What the outputs of the last layer mean; None for values themselves.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        hidden_sizes: Sequence[int],
        layer_norm: bool,
        readout: CriticHead | None = None,
    ) -> None:
        super().__init__()
        self.members = members
        sizes = [inputs, *hidden_sizes]
        self.hidden = nn.ModuleList(EnsembleLinear(members, i, o) for i, o in pairwise(sizes))
        self.norms = (
            nn.ModuleList(EnsembleLayerNorm(members, size) for size in hidden_sizes) if layer_norm else None
        )
        self.readout = readout or MSEHead()
        self.head = EnsembleLinear(members, sizes[-1], self.readout.outputs)

    def forward(self, state_BD: Tensor, action_BA: Tensor, members: Tensor | None = None) -> Tensor:  # noqa: N803
        """Values, shape (E, B), of all members or of those listed."""
        return self.readout.values(self.raw(state_BD, action_BA, members))

    def raw(self, state_BD: Tensor, action_BA: Tensor, members: Tensor | None = None) -> Tensor:  # noqa: N803
        """Outputs of the last layer, shape (E, B, K), for the losses of `readout`."""
        count = self.members if members is None else members.shape[0]
        x = torch.cat([state_BD, action_BA], -1).expand(count, -1, -1)
        for index, layer in enumerate(self.hidden):
            x = layer(x, members)
            if self.norms is not None:
                x = self.norms[index](x, members)
            x = F.relu(x)
        if self.readout.outputs > 1:
            return self.head(x, members)
        return self.head.of_one_column(x, members)


def mlp(inputs: int, outputs: int, hidden_sizes: Sequence[int], layer_norm: bool) -> nn.Sequential:
    """Fully connected layers with ReLU between them, shape (B, inputs) -> (B, outputs)."""
    layers: list[nn.Module] = []
    sizes = [inputs, *hidden_sizes]
    for i, o in pairwise(sizes):
        layers += [nn.Linear(i, o), *([nn.LayerNorm(o)] if layer_norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class GaussianActor(nn.Module):
    """Tanh-squashed Gaussian policy with state-dependent standard deviation (SAC, arXiv:1812.05905)."""

    def __init__(self, inputs: int, actions: int, hidden_sizes: Sequence[int], layer_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [inputs, *hidden_sizes]
        for i, o in pairwise(sizes):
            layers += [nn.Linear(i, o), *([nn.LayerNorm(o)] if layer_norm else []), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.mean = nn.Linear(sizes[-1], actions)
        self.log_std = nn.Linear(sizes[-1], actions)

    def forward(self, state_BD: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """Mean and log standard deviation before squashing, each of shape (B, A)."""
        x = self.trunk(state_BD)
        return self.mean(x), self.log_std(x).clamp(LOG_STD_MIN, LOG_STD_MAX)

    def sample(self, state_BD: Tensor, noise_BA: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803
        """Reparameterised action, shape (B, A), and its log-density, shape (B,), for standard normal noise."""
        mean, log_std = self(state_BD)
        raw = mean + log_std.exp() * noise_BA
        log_normal = -0.5 * noise_BA.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), written so that it stays finite (SAC, appendix C).
        log_squash = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
        return raw.tanh(), (log_normal - log_squash).sum(-1)

    def imitation_loss(self, state_BD: Tensor, action_BA: Tensor, log_std: float) -> Tensor:  # noqa: N803
        """Mean distance of the squashed mean from demonstrated actions, and how far the spread is from `log_std`.

        The distance is absolute, not squared (as in ACT, arXiv:2304.13705): grippers and saturated motions are
        demonstrated at -1 or 1 with noise that can go only inward, which moves the mean of what is seen, but not the
        median. The spread is not fitted to demonstrations: with few of them it shrinks where they are learned by heart,
        and the likelihood then counts these states for more than all others.
        """
        mean, own_log_std = self(state_BD)
        return (mean.tanh() - action_BA).abs().mean() + (own_log_std - log_std).square().mean()
