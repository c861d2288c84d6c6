"""How new a transition is: random network distillation (Burda et al., arXiv:1810.12894)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.networks import mlp

_FEATURES = 256
_LEAST_DEVIATION = 1e-6  # Of an output that no transition moves.


class Novelty(nn.Module):
    """Error of a network that learns, of what was done, to say what a fixed random one says.

    Unlike in the paper the random network's outputs have mean 0 and deviation 1 over the first batch's transitions.
    Else most of an output is the same everywhere, and a predictor that has learned this knows unseen transitions, too.
    The predictor begins with 0, so that its error is 1 on average before anything was done.

    Args:
        inputs: Entries of observation and action together.
        hidden_sizes: Of both networks.
    """

    mean: Tensor
    deviation: Tensor
    is_scaled: Tensor

    def __init__(self, inputs: int, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.random = mlp(inputs, _FEATURES, hidden_sizes, layer_norm=False).requires_grad_(False)
        self.predictor = mlp(inputs, _FEATURES, hidden_sizes, layer_norm=False)
        for parameter in self.predictor[-1].parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("mean", torch.zeros(_FEATURES))
        self.register_buffer("deviation", torch.ones(_FEATURES))
        self.register_buffer("is_scaled", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def scale_by(self, inputs: Tensor) -> None:
        """Measure the random outputs over transitions, shape (B, inputs); only the first call does anything."""
        if not self.is_scaled:
            outputs = self.random(inputs)
            self.mean.copy_(outputs.mean(0))
            self.deviation.copy_(outputs.std(0, correction=0).clamp(min=_LEAST_DEVIATION))
            self.is_scaled.fill_(True)

    def loss(self, inputs: Tensor) -> Tensor:
        """What the predictor lowers on transitions that were done."""
        return F.mse_loss(self.predictor(inputs), self._wanted(inputs))

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """From 0, well known, to 1, as new as everything is at the beginning, or newer; shape (B,)."""
        return (self.predictor(inputs) - self._wanted(inputs)).square().mean(-1).clamp(max=1.0)

    @torch.no_grad()
    def _wanted(self, inputs: Tensor) -> Tensor:
        wanted: Tensor = (self.random(inputs) - self.mean) / self.deviation
        return wanted
