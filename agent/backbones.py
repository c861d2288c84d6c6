"""Backbones: from an image to feature maps. Shape suffixes: B batch, C channels, H height, W width.

All of them take intensities centred on zero, from -0.5 to 0.5.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from agent.config import InputError


class ConvBackbone(nn.Module):
    """Convolutions of 3 x 3 with stride 2."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2) for i, o in pairwise([3, *channels]))

    def forward(self, image_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Feature maps, (B, C', H', W')."""
        x = image_BCHW
        for layer in self.layers:
            x = F.relu_(layer(x))  # In place: a second map as large would take longer to get than to compute.
        return x


class _ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut (He et al., arXiv:1512.03385).

    Normalised over groups of channels, not over a batch: the actor has one image where the learner has many.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(4, outputs, eps=1e-5)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, outputs, eps=1e-5)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(4, outputs, eps=1e-5)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Feature maps, height and width divided by the stride."""
        x = F.relu_(self.first_norm(self.first(x_BCHW)))
        return F.relu_(self.second_norm(self.second(x)) + self.shortcut(x_BCHW))


class ResNet10Backbone(nn.Module):
    """A stem and four residual blocks of 64, 128, 256 and 512 channels: 1/32 of height and width is left."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.stem_norm = nn.GroupNorm(4, 64, eps=1e-5)
        sizes = pairwise([64, 64, 128, 256, 512])
        self.blocks = nn.ModuleList(_ResidualBlock(i, o, 1 if i == o else 2) for i, o in sizes)

    def forward(self, image_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Feature maps, (B, 512, H / 32, W / 32)."""
        x = F.max_pool2d(F.relu_(self.stem_norm(self.stem(image_BCHW))), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return x


def load_backbone(backbone: nn.Module, path: Path, without: Iterable[str] = ()) -> None:
    """Read a backbone's weights.

    Args:
        backbone: Whose.
        path: A safetensors file.
        without: Layers that the file may have and the backbone has not, such as a classifier of ImageNet.

    Raises:
        InputError: The file is missing, damaged, or of another network.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"encoder.weights {path} cannot be read: {error}; give a safetensors file."
        ) from None
    prefixes = tuple(f"{layer}." for layer in without)
    take_over(
        backbone, {n: v for n, v in state.items() if not n.startswith(prefixes)}, f"encoder.weights {path}"
    )


def take_over(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state into a backbone.

    Args:
        backbone: Whose.
        state: All of its tensors by name.
        source: Where they come from, for the message.

    Raises:
        InputError: It is that of another network.
    """
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{source} does not fit the backbone {type(backbone).__name__}: {reason}.") from None
