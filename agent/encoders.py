"""From camera images to features. Shape suffixes: B batch, C channels, H height, W width, D features."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from agent.config import Config, InputError
from agent.transition import TransitionSpec

_EMBEDDINGS = 8


class EncoderConfig(Config):
    """How camera images become features; every camera has an encoder of its own.

    Attributes:
        kind: `conv`, a few strided convolutions (DrQ, arXiv:2004.13649); `resnet10`, four residual stages and learned
            spatial embeddings (SERL, arXiv:2401.16013).
        channels: Of the convolutions of `conv`, each halving height and width.
        features: Size of what is left of a camera's image.
        weights: safetensors file with weights of a `resnet10` backbone, without its head; null begins with random ones.
        frozen: Whether the backbone of a `resnet10` stays as it is; only its head learns then.
        cache: Whether the replay keeps what a frozen backbone makes of an image instead of the image: it is computed
            once for each, not in every update. Images cannot be shifted then.
        precision: Of the backbone. `auto` takes bfloat16 where processor or GPU computes with it, which halves the
            time; parameters and all that follows stay float32.
    """

    kind: Literal["conv", "resnet10"] = "conv"
    channels: tuple[int, ...] = (32, 32, 32, 32)
    features: int = 50
    weights: str | None = None
    frozen: bool = False
    cache: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.channels or min(self.channels) < 1 or self.features < 1:
            raise ValueError(
                f"encoder.channels {self.channels} and features {self.features} must be positive, and at least one "
                "channel count be given"
            )
        if self.kind == "conv" and (self.weights is not None or self.frozen):
            raise ValueError("encoder.weights and encoder.frozen go with encoder.kind=resnet10")
        if self.frozen and self.weights is None:
            raise ValueError("encoder.frozen needs encoder.weights: a random backbone sees little")
        if self.cache and not self.frozen:
            raise ValueError("encoder.cache needs encoder.frozen: a backbone that learns must see the images")


class ConvBackbone(nn.Module):
    """Convolutions of 3 x 3 with stride 2."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2) for i, o in pairwise([3, *channels]))

    def forward(self, image_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Feature maps, (B, C', H', W')."""
        x = image_BCHW
        for layer in self.layers:
            x = F.relu(layer(x))
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
        x = F.relu(self.first_norm(self.first(x_BCHW)))
        return F.relu(self.second_norm(self.second(x)) + self.shortcut(x_BCHW))


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
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(image_BCHW))), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return x


class SpatialEmbedding(nn.Module):
    """Learned weightings of the places of a feature map, `embeddings` for each channel (SERL)."""

    def __init__(self, shape_CHW: Sequence[int], embeddings: int = _EMBEDDINGS) -> None:  # noqa: N803
        super().__init__()
        channels, height, width = shape_CHW
        scale = 1.0 / np.sqrt(height * width)
        self.kernel = nn.Parameter(torch.randn(embeddings, channels, height, width) * scale)

    def forward(self, map_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Shape (B, C * embeddings)."""
        return torch.einsum("bchw,echw->bce", map_BCHW, self.kernel).flatten(1)


class CameraEncoder(nn.Module):
    """One camera's backbone and head: image to a small feature vector.

    Args:
        config: What kind.
        height: Of the images.
        width: Of the images.

    Raises:
        InputError: The images are too small, or the weights cannot be used.
    """

    def __init__(self, config: EncoderConfig, height: int, width: int) -> None:
        super().__init__()
        self._precision = config.precision
        self.frozen = config.frozen
        backbone = ConvBackbone(config.channels) if config.kind == "conv" else ResNet10Backbone()
        if config.weights is not None:
            load_backbone(backbone, Path(config.weights))
        try:
            with torch.inference_mode():
                shape = backbone(torch.zeros(1, 3, height, width)).shape[1:]
        except RuntimeError:
            raise InputError(
                f"Camera images of {width} x {height} pixels are too small for encoder.kind {config.kind!r} with "
                f"channels {config.channels}: take larger images or fewer channels."
            ) from None
        self.backbone = backbone.requires_grad_(not config.frozen)
        reduce = nn.Flatten() if config.kind == "conv" else SpatialEmbedding(shape)
        inputs = int(np.prod(shape)) if config.kind == "conv" else shape[0] * _EMBEDDINGS
        self.head = nn.Sequential(
            reduce, nn.Linear(inputs, config.features), nn.LayerNorm(config.features), nn.Tanh()
        )

    def forward(self, image_BHWC: Tensor) -> Tensor:  # noqa: N803
        """Images, (B, H, W, 3) of uint8, or what `maps` made of them, to features, (B, D)."""
        maps = self.maps(image_BHWC) if image_BHWC.dtype == torch.uint8 else image_BHWC
        return self.head(maps.float())

    def maps(self, image_BHWC: Tensor) -> Tensor:  # noqa: N803
        """The backbone's feature maps of uint8 images, (B, C, H', W')."""
        # Height x width x channel in memory is what torch calls channels last: nothing is copied. The weights are not
        # laid out so: fused Adam pairs them with momenta that a checkpoint brings back in the usual order.
        image = image_BHWC.permute(0, 3, 1, 2).float() / 255.0 - 0.5
        device = image.device.type
        with torch.autocast(device, torch.bfloat16, enabled=_takes_bfloat16(self._precision, device)):
            maps: Tensor = self.backbone(image)
        return maps


class ImageEncoder(nn.Module):
    """All cameras' features beside the vector observations.

    Args:
        config: Kind of the cameras' encoders.
        spec: Names and sizes of images and vectors.

    Attributes:
        size: D, features in all.

    Raises:
        InputError: There is no camera, or its images cannot be encoded.
    """

    def __init__(self, config: EncoderConfig, spec: TransitionSpec) -> None:
        super().__init__()
        if not spec.image_keys:
            raise InputError(
                "agent.drq.DrQ learns from camera images, but the task has no cameras: add task.cameras, or choose "
                "algorithm=rlpd."
            )
        self._vectors = [key for key in spec.observation_keys if key not in spec.image_keys]
        shapes = {key: spec.dtype[f"observation.{key}"].shape for key in spec.observation_keys}
        self.cameras = nn.ModuleDict(
            {key: CameraEncoder(config, *shapes[key][:2]) for key in spec.image_keys}
        )
        vectors = sum(int(np.prod(shapes[key])) for key in self._vectors)
        self.size = config.features * len(self.cameras) + vectors

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features, shape (B, D)."""
        images = [encoder(observation[key]) for key, encoder in self.cameras.items()]
        return torch.cat([*images, *(observation[key].flatten(1) for key in self._vectors)], -1)

    def learned_state(self) -> dict[str, Tensor]:
        """Its state without the frozen backbones, which are read from their file wherever they are needed."""
        frozen = tuple(f"cameras.{key}.backbone." for key, c in self.cameras.items() if c.frozen)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(frozen)}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `learned_state` gave."""
        self.load_state_dict({**self.state_dict(), **state})


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Read a backbone's weights.

    Raises:
        InputError: The file is missing, damaged, or of another network.
    """
    try:
        backbone.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"encoder.weights {path} cannot be read: {error}; give a safetensors file."
        ) from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"encoder.weights {path} does not fit the backbone {type(backbone).__name__}: {reason}."
        ) from None


def random_shift(image_BHWC: Tensor, pixels: int, generator: torch.Generator) -> Tensor:  # noqa: N803
    """Shift every image by up to `pixels` in each direction; what comes in repeats the border (DrQ, section 4.1)."""
    batch, height, width, channels = image_BHWC.shape
    device = image_BHWC.device
    padded = image_BHWC.new_empty(batch, height + 2 * pixels, width + 2 * pixels, channels)
    middle = padded[:, pixels : pixels + height]
    middle[:, :, pixels : pixels + width] = image_BHWC
    middle[:, :, :pixels] = image_BHWC[:, :, :1]
    middle[:, :, pixels + width :] = image_BHWC[:, :, -1:]
    padded[:, :pixels] = middle[:, :1]
    padded[:, pixels + height :] = middle[:, -1:]
    corners = torch.randint(0, 2 * pixels + 1, (batch, 2), generator=generator)
    if device.type == "cpu":
        # Image by image: gathering single bytes takes ten times as long.
        shifted = torch.empty_like(image_BHWC)
        for number, (y, x) in enumerate(corners.tolist()):
            shifted[number] = padded[number, y : y + height, x : x + width]
        return shifted
    corners = corners.to(device)
    rows = torch.arange(height, device=device) + corners[:, :1]
    columns = torch.arange(width, device=device) + corners[:, 1:]
    index = torch.arange(batch, device=device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]]


def _takes_bfloat16(precision: str, device: str) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
