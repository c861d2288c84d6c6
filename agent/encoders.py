"""From camera images to features. Shape suffixes: B batch, C channels, H height, W width, D features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from agent.backbones import ConvBackbone, ResNet10Backbone, load_backbone
from agent.config import Config, InputError
from agent.frames import Frames
from agent.networks import VectorEncoder, refuse_privileged
from agent.parallel.share import WHOLE, Share
from agent.pretrained import LIBRARIES, make_pretrained
from agent.tensors import Tensors
from agent.transition import TransitionSpec

_EMBEDDINGS = 8
_PIXELS_AT_A_TIME = 2**20  # Of the default encoder's first layer 32 MB.
_OWN = ("conv", "resnet10")


class EncoderConfig(Config):
    """How camera images become features; every camera has an encoder of its own.

    Attributes:
        kind: `conv`, a few strided convolutions (DrQ, arXiv:2004.13649); `resnet10`, four residual stages and learned
            spatial embeddings (SERL, arXiv:2401.16013); or a pretrained network of a library with such embeddings, such
            as `timm/resnet18.a1_in1k` or `torchvision/resnet18`.
        channels: Of the convolutions of `conv`, each halving height and width.
        features: Size of what is left of a camera's image.
        weights: safetensors file with the backbone's weights, without its head. With null `resnet10` begins with random
            ones, and a pretrained network's are downloaded.
        frozen: Whether the backbone stays as it is; only the head learns then. Null says so of pretrained networks.
        cache: Whether the replay keeps what a frozen backbone makes of an image instead of the image: it is computed
            once for each, not in every update. Images cannot be shifted then.
        precision: Of the backbone. `auto` takes bfloat16 where processor or GPU computes with it, which halves the
            time; parameters and all that follows stay float32.
    """

    kind: str = "conv"
    channels: tuple[int, ...] = (32, 32, 32, 32)
    features: int = 50
    weights: str | None = None
    frozen: bool | None = None
    cache: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.channels or min(self.channels) < 1 or self.features < 1:
            raise ValueError(
                f"encoder.channels {self.channels} and features {self.features} must be positive, and at least one "
                "channel count be given"
            )
        if self.kind not in _OWN and not self.is_pretrained:
            raise ValueError(
                f"encoder.kind {self.kind!r} must be {', '.join(_OWN)}, or a pretrained network by library and name, "
                "such as timm/resnet18.a1_in1k or torchvision/resnet18"
            )
        if self.kind == "conv" and (self.weights is not None or self.frozen):
            raise ValueError("encoder.weights and encoder.frozen go with other kinds than conv")
        if self.is_frozen and self.weights is None and not self.is_pretrained:
            raise ValueError("encoder.frozen needs encoder.weights: a random backbone sees little")
        if self.cache and not self.is_frozen:
            raise ValueError("encoder.cache needs encoder.frozen: a backbone that learns must see the images")

    @property
    def is_pretrained(self) -> bool:
        """Whether a library has the network and its weights."""
        library, _, name = self.kind.partition("/")
        return library in LIBRARIES and bool(name)

    @property
    def is_frozen(self) -> bool:
        """Whether the backbone stays as it is."""
        return self.is_pretrained if self.frozen is None else self.frozen


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
        InputError: The backbone cannot be had, its weights cannot be used, or it takes no images of this size.
    """

    def __init__(self, config: EncoderConfig, height: int, width: int) -> None:
        super().__init__()
        self._precision = config.precision
        self.frozen = config.is_frozen
        backbone = _make_backbone(config)
        shape = _shape_of_maps(backbone, config, height, width)
        self.backbone = backbone.requires_grad_(not self.frozen)
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
        device = image_BHWC.device.type
        with torch.autocast(device, torch.bfloat16, enabled=_takes_bfloat16(self._precision, device)):
            if device != "cpu":
                return self._maps(image_BHWC)
            # As many at a time as make maps of the size that `agent.memory` lets the C library keep.
            height, width = image_BHWC.shape[1:3]
            parts = image_BHWC.split(max(1, _PIXELS_AT_A_TIME // (height * width)))
            return (
                self._maps(parts[0]) if len(parts) == 1 else torch.cat([self._maps(part) for part in parts])
            )

    def _maps(self, image_BHWC: Tensor) -> Tensor:  # noqa: N803
        # Height x width x channel in memory is what torch calls channels last: nothing is copied. The weights are not
        # laid out so: fused Adam pairs them with momenta that a checkpoint brings back in the usual order.
        maps: Tensor = self.backbone(image_BHWC.permute(0, 3, 1, 2).float().div_(255.0).sub_(0.5))
        return maps


class ImageEncoder(nn.Module):
    """All cameras' features beside the vector observations.

    Args:
        config: Kind of the cameras' encoders.
        spec: Names and sizes of images and vectors.

    Attributes:
        size: D, features in all.

    Raises:
        InputError: There is no camera, its images cannot be encoded, or there is what no policy may see.
    """

    def __init__(self, config: EncoderConfig, spec: TransitionSpec) -> None:
        super().__init__()
        refuse_privileged(spec)
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

    @torch.no_grad()
    def with_frozen_maps(self, observation: Tensors, rows: int) -> Tensors:
        """An observation with what frozen backbones make of its images in their place.

        For who encodes it more than once: the encoder takes either, and a frozen backbone says the same every time.

        Args:
            observation: With uint8 images, or maps that are left as they are.
            rows: How many go through a backbone at a time.
        """
        frozen: dict[str, Any] = {key: c for key, c in self.cameras.items() if c.frozen}
        images = {key: observation[key] for key in frozen if observation[key].dtype == torch.uint8}
        return observation | {
            key: torch.cat([frozen[key].maps(part) for part in image.split(rows)])
            for key, image in images.items()
        }

    @torch.inference_mode()
    def convert(self, frames: Frames) -> Frames:
        """Feature maps of uint8 images in half precision, as the replay keeps them with `encoder.cache`."""
        device = next(self.parameters()).device
        cameras: Mapping[str, Any] = dict(self.cameras.items())
        return {
            key: camera.maps(torch.from_numpy(frames[key]).to(device)).to(torch.float16).cpu().numpy()
            for key, camera in cameras.items()
        }

    def learned_state(self) -> dict[str, Tensor]:
        """Its state without the frozen backbones, which are read from their file wherever they are needed."""
        frozen = tuple(f"cameras.{key}.backbone." for key, c in self.cameras.items() if c.frozen)
        return {name: value for name, value in self.state_dict().items() if not name.startswith(frozen)}

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `learned_state` gave."""
        self.load_state_dict({**self.state_dict(), **state})


def make_encoder(config: EncoderConfig, spec: TransitionSpec) -> ImageEncoder | VectorEncoder:
    """From the observations of a task to features, with cameras or without."""
    return ImageEncoder(config, spec) if spec.image_keys else VectorEncoder(spec)


def check_shift(shift_pixels: int, encoder: EncoderConfig) -> None:
    """Refuse shifts that cannot be meant.

    Raises:
        ValueError: With the reason.
    """
    if not 0 <= shift_pixels <= 100:
        raise ValueError(f"shift_pixels {shift_pixels} must lie between 0 and 100")
    if encoder.cache and shift_pixels:
        raise ValueError(
            f"shift_pixels {shift_pixels} must be 0 with encoder.cache: features are of images as they came"
        )


def shift_images(
    observation: Tensors, keys: Sequence[str], pixels: int, generator: torch.Generator, share: Share = WHOLE
) -> Tensors:
    """The observation with the images of `keys` shifted at random, each camera's on its own; none for 0 pixels."""
    if not pixels:
        return observation
    return observation | {key: random_shift(observation[key], pixels, generator, share) for key in keys}


def _make_backbone(config: EncoderConfig) -> nn.Module:
    if config.is_pretrained:
        return make_pretrained(config.kind, config.weights)
    backbone = ConvBackbone(config.channels) if config.kind == "conv" else ResNet10Backbone()
    if config.weights is not None:
        load_backbone(backbone, Path(config.weights))
    return backbone


def _shape_of_maps(backbone: nn.Module, config: EncoderConfig, height: int, width: int) -> torch.Size:
    """(C', H', W') for images of this size."""
    reason = ""
    try:
        with torch.inference_mode():
            shape = backbone(torch.zeros(1, 3, height, width)).shape[1:]
    except (RuntimeError, AssertionError, ValueError) as error:
        shape, reason = torch.Size(), f" ({' '.join(str(error).split())})"
    if len(shape) == 3:
        return shape
    if config.is_pretrained:
        raise InputError(
            f"encoder.kind {config.kind} makes no feature maps of camera images of {width} x {height} pixels{reason}: "
            "choose the size in task.cameras that it takes, or a convolutional network such as timm/resnet18.a1_in1k."
        )
    raise InputError(
        f"Camera images of {width} x {height} pixels are too small for encoder.kind {config.kind!r} with "
        f"channels {config.channels}: take larger images or fewer channels."
    )


def random_shift(
    image_BHWC: Tensor,  # noqa: N803
    pixels: int,
    generator: torch.Generator,
    share: Share = WHOLE,
) -> Tensor:
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
    corners = share.own(torch.randint(0, 2 * pixels + 1, (batch * share.of, 2), generator=generator))
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
