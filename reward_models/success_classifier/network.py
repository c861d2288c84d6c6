"""The network: one small convolutional encoder per camera, and a head on what they say."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from controllers.config import Config


class NetworkConfig(Config):
    """Sizes.

    Attributes:
        channels: Of the stride-2 convolutions of each camera's encoder.
        features: F, width of the layer before the verdict.
        dropout: Share of features that fitting leaves out at random, as in SERL (arXiv:2401.16013).
    """

    channels: tuple[int, ...] = (16, 32, 32, 32)
    features: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse layers of no width."""
        if not self.channels or min(*self.channels, self.features) < 1 or not 0.0 <= self.dropout < 1.0:
            raise ValueError(
                f"channels {list(self.channels)} and features {self.features} must be positive, and dropout "
                f"{self.dropout} lie in [0, 1)"
            )


class SuccessNetwork(nn.Module):
    """Shapes: N observations, C cameras, S x S pixels, P entries of the state, F features."""

    def __init__(self, cameras: int, size: int, states: int, config: NetworkConfig) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(_encoder(config.channels) for _ in range(cameras))
        with torch.no_grad():
            encoded = self.encoders[0](torch.zeros(1, 3, size, size)).shape[1]
        self.trunk = nn.Sequential(
            nn.Linear(cameras * encoded + states, config.features), nn.LayerNorm(config.features)
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.features, 1))

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logit of success, shape (N,), and the features behind it, shape (N, F).

        Args:
            images: Normalised, shape (N, C, 3, S, S).
            state: Shape (N, P).
        """
        seen = [encoder(images[:, camera]) for camera, encoder in enumerate(self.encoders)]
        features = self.trunk(torch.cat([*seen, state], dim=1))
        return self.head(features).squeeze(1), features


def _encoder(channels: tuple[int, ...]) -> nn.Sequential:
    """Flattened at the end: where something is seen decides, which an average over the image would lose."""
    layers: list[nn.Module] = []
    for before, after in pairwise((3, *channels)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())
