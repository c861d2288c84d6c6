"""What the last layer of a critic says, and how it learns: a number, a histogram, or a Gaussian.

A head turns the outputs of a `CriticEnsemble` into values and compares them with targets. The algorithm asks for values
and hands over targets, and does not know which head there is. Shape suffixes: E ensemble member, B batch, K output.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.config import Config


class Target(NamedTuple):
    """What critics are to say of a batch.

    Attributes:
        value: Expected return, shape (B,).
        drawn: One return from its distribution, shape (B,), for a head that asks for it.
    """

    value: Tensor
    drawn: Tensor | None = None


class Linear(Protocol):
    """The last layer: `weight` of shape (E, inputs, K) and `bias` of shape (E, 1, K)."""

    weight: nn.Parameter
    bias: nn.Parameter


class CriticHead(nn.Module, ABC):
    """Reads the outputs of a critic. Buffers are its state; nothing in it is learned by gradients.

    Attributes:
        outputs: K, for each member.
        draws: Whether its targets hold a drawn return.
        widens: Whether it has to make room for values, see `widen`.
    """

    outputs: int = 1
    draws: bool = False
    widens: bool = False

    @abstractmethod
    def values(self, outputs_EBK: Tensor) -> Tensor:  # noqa: N803
        """Expected returns, shape (E, B)."""

    def deviations(self, outputs_EBK: Tensor) -> Tensor:  # noqa: N803
        """Standard deviations of the return, shape (E, B), of a head that draws."""
        raise NotImplementedError

    @abstractmethod
    def losses(self, outputs_EBK: Tensor, target: Target) -> Tensor:  # noqa: N803
        """How far the outputs are from the target, shape (E, B)."""

    @abstractmethod
    def rescale(self, layer: Linear, factor: float) -> None:
        """Multiply all values by a factor, because what they are counted in has changed."""

    def is_outgrown(self) -> bool:
        """Whether the range of values is to be doubled, to hold the targets seen so far."""
        return False

    def widen(self, layer: Linear) -> None:
        """Double the range of values, and leave the values as they are."""


class MSEHead(CriticHead):
    """One number, and its squared error."""

    def values(self, outputs_EBK: Tensor) -> Tensor:  # noqa: N803
        """The outputs."""
        return outputs_EBK.squeeze(-1)

    def losses(self, outputs_EBK: Tensor, target: Target) -> Tensor:  # noqa: N803
        """Squared errors."""
        values = self.values(outputs_EBK)
        return F.mse_loss(values, target.value.expand_as(values), reduction="none")

    @torch.no_grad()
    def rescale(self, layer: Linear, factor: float) -> None:
        """As PopArt does (arXiv:1602.07714), without the shift."""
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)


class HLGaussConfig(Config):
    """Of `HLGaussHead`.

    Attributes:
        bins: Of the histogram. Odd, so that 0 is the middle of one.
        smoothing: Standard deviation of a target's histogram, in widths of a bin (the paper's 0.75).
        value_bound: Greatest absolute value, in units of reward; None lets it follow the targets.
    """

    bins: int = 101
    smoothing: float = 0.75
    value_bound: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.smoothing <= 5:
            raise ValueError(f"hl_gauss.smoothing {self.smoothing} must lie in (0, 5]")
        least = math.ceil(4 * self.margin)
        if self.bins % 2 == 0 or self.bins < least:
            raise ValueError(f"hl_gauss.bins {self.bins} must be odd and at least {least}")
        if self.value_bound is not None and not 0 < self.value_bound < math.inf:
            raise ValueError(f"hl_gauss.value_bound {self.value_bound} must be a positive number, or be null")

    @property
    def margin(self) -> float:
        """Bins beyond the greatest value on each side, so that its histogram is not cut off."""
        return 3.0 * self.smoothing + 0.25


_LEAST_LOGIT = (
    8.0  # How much less likely, on a logarithmic scale, new bins are than the outermost one before.
)
_PATIENCE = (
    100  # Losses between two doublings: bins that were skipped twice might be all that a histogram had.
)
_LEAST_BOUND = 1e-6  # So that doubling leads back to 1, however small what was learned from before.


class HLGaussHead(CriticHead):
    """A histogram of values that learns by cross-entropy (HL-Gauss; Farebrother et al., arXiv:2403.03950).

    A target is a normal distribution around it, cut into bins (section 3.1); a value is the mean of the histogram.
    The paper chooses the range of the bins for each suite of tasks. Here it begins at one unit of reward and doubles
    when targets lie outside, until it is within a factor of two of the greatest one. Every new bin is then an old one,
    so its outputs are taken over, and values stay what they were.

    Args:
        config: Parameters.
    """

    _edges: Tensor
    bound: Tensor
    reach: Tensor
    rested: Tensor

    def __init__(self, config: HLGaussConfig) -> None:
        super().__init__()
        self.outputs, self.widens = config.bins, config.value_bound is None
        self._smoothing = config.smoothing
        side = config.bins / (config.bins - 2.0 * config.margin)
        # Of a bound of 1; not part of the state, since it belongs to the configuration.
        self.register_buffer("_edges", torch.linspace(-side, side, config.bins + 1), persistent=False)
        self.register_buffer("bound", torch.tensor(config.value_bound or 1.0))
        self.register_buffer("reach", torch.tensor(0.0))
        self.register_buffer("rested", torch.tensor(_PATIENCE))

    def values(self, outputs_EBK: Tensor) -> Tensor:  # noqa: N803
        """Means of the histograms."""
        centres = (self._edges[1:] + self._edges[:-1]) / 2.0 * self.bound
        return (outputs_EBK.softmax(-1) * centres).sum(-1)

    def losses(self, outputs_EBK: Tensor, target: Target) -> Tensor:  # noqa: N803
        """Cross-entropy to the targets' histograms; a value beyond the bound is taken for the bound."""
        with torch.no_grad():
            self.rested.add_(1)
            self.reach.copy_(torch.maximum(self.reach, target.value.abs().max()))
            wanted = self.histogram(target.value)
        return -(wanted * outputs_EBK.log_softmax(-1)).sum(-1)

    def histogram(self, value: Tensor) -> Tensor:
        """Of values, shape (B,): probabilities of the bins, shape (B, K)."""
        edges = self._edges * self.bound
        deviation = self._smoothing * (edges[1] - edges[0])
        inside = value.clamp(-self.bound, self.bound)
        below = torch.special.ndtr((edges - inside[:, None]) / deviation)
        return (below[:, 1:] - below[:, :-1]) / (below[:, -1:] - below[:, :1])

    @torch.no_grad()
    def rescale(self, layer: Linear, factor: float) -> None:
        """The same histograms over another range."""
        self.bound.mul_(factor).clamp_(min=_LEAST_BOUND)
        self.reach.mul_(factor)

    def is_outgrown(self) -> bool:
        """Not where the bound is fixed, and not because learning has diverged, which is for others to say."""
        outside = self.bound < self.reach < math.inf
        # Of a range that does not even hold a single reward, because the unit has grown, little can be lost by haste.
        return self.widens and bool(outside) and (int(self.rested) >= _PATIENCE or float(self.bound) < 1.0)

    @torch.no_grad()
    def widen(self, layer: Linear) -> None:
        """Every second bin becomes a bin; those that are new are improbable, but within reach of learning."""
        middle = self.outputs // 2
        old = middle + 2 * (torch.arange(self.outputs, device=self.bound.device) - middle)
        inside = old.clamp(0, self.outputs - 1)
        layer.weight.copy_(layer.weight[..., inside])
        layer.bias.copy_(layer.bias[..., inside] - (old - inside).abs().clamp(max=_LEAST_LOGIT))
        self.bound.mul_(2.0).clamp_(min=_LEAST_BOUND)
        self.rested.zero_()


class GaussianConfig(Config):
    """Of `GaussianHead`; defaults are those of DSAC-T's code.

    Attributes:
        clip: How far a drawn return may be from the mean, in average deviations; null for any distance.
        weights: Least and greatest weight of a transition.
        huber_delta: Error, in units of reward, beyond which the loss is linear.
    """

    clip: float | None = 3.0
    weights: tuple[float, float] = (0.1, 10.0)
    huber_delta: float = 50.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"gaussian.clip {self.clip} must be a positive number, or be null")
        if not 0 < self.weights[0] <= self.weights[1] < math.inf:
            raise ValueError(f"gaussian.weights {self.weights} must be positive, the lesser one first")
        if not 0 < self.huber_delta < math.inf:
            raise ValueError(f"gaussian.huber_delta {self.huber_delta} must be a positive number")


_LEAST_SPREAD = 0.1  # Epsilon of DSAC-T's code, in units of reward: no transition weighs without bound.


class GaussianHead(CriticHead):
    """Mean and standard deviation of the return, as in DSAC-T (Duan et al., arXiv:2310.05858).

    The mean follows the expected target; the deviation follows how far drawn returns are from the mean, at most `clip`
    average deviations. Both count for less where the deviation is great, by a weight that is 1 for an average one: so
    the size of gradients does not depend on the scale of the rewards, as far as this is well above `_LEAST_SPREAD`.

    Args:
        config: Parameters.
        members: E.
        rate: Of the moving average of the deviation.
    """

    average: Tensor
    outputs = 2
    draws = True

    def __init__(self, config: GaussianConfig, members: int, rate: float) -> None:
        super().__init__()
        self._config, self._rate = config, rate
        self.register_buffer("average", torch.zeros(members))  # Until there is one.

    def values(self, outputs_EBK: Tensor) -> Tensor:  # noqa: N803
        """The means."""
        return outputs_EBK[..., 0]

    def deviations(self, outputs_EBK: Tensor) -> Tensor:  # noqa: N803
        """Always positive."""
        return F.softplus(outputs_EBK[..., 1])

    def losses(self, outputs_EBK: Tensor, target: Target) -> Tensor:  # noqa: N803
        """Of which the gradient is that of DSAC-T's code, an alteration of the likelihood's."""
        assert target.drawn is not None
        mean, deviation = self.values(outputs_EBK), self.deviations(outputs_EBK)
        with torch.no_grad():
            average = self._follow(deviation)[:, None]
            spread = deviation.square()
            weight = (average.square() / (spread + _LEAST_SPREAD)).clamp(*self._config.weights)
            away = target.drawn - mean
            if self._config.clip is not None:
                away = away.clamp(-self._config.clip * average, self._config.clip * average)
            excess = (spread - self._huber(away)) / (deviation + _LEAST_SPREAD)
        return weight * (self._huber(target.value - mean) + deviation * excess)

    def _huber(self, error: Tensor) -> Tensor:
        return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self._config.huber_delta)

    def _follow(self, deviation: Tensor) -> Tensor:
        """The moving average, by member, of which the first is the mean itself; shape (E,)."""
        mean = deviation.mean(-1)
        self.average.copy_(torch.where(self.average > 0, self.average.lerp(mean, self._rate), mean))
        return self.average

    @torch.no_grad()
    def rescale(self, layer: Linear, factor: float) -> None:
        """The mean's; the deviation, which no action depends on, is learned anew."""
        layer.weight[..., 0].mul_(factor)
        layer.bias[..., 0].mul_(factor)


HEADS: dict[str, Callable[[Any], CriticHead]] = {
    "mse": lambda config: MSEHead(),
    "hl_gauss": lambda config: HLGaussHead(config.hl_gauss),
    "gaussian": lambda config: GaussianHead(config.gaussian, config.critics, config.target_rate),
}
"""By the name in a configuration, which has the options of each."""


def make_head(config: Any) -> CriticHead:
    """The head that `critic_head` of a configuration names."""
    return HEADS[config.critic_head](config)


def check_head(name: str) -> None:
    """Refuse a name that is none.

    Raises:
        ValueError: See above.
    """
    if name not in HEADS:
        raise ValueError(f"critic_head {name!r} must be one of {', '.join(HEADS)}")
