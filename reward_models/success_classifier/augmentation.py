"""Pictures that could as well have been taken: shifted a little, and under other light."""

import torch
import torch.nn.functional as F
from torch import Tensor


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move every picture by up to `pixels` each way, repeating its edge (DrQ, arXiv:2004.13649).

    Args:
        images: Shape (N, C, 3, S, S); observations and cameras move independently.
        pixels: Greatest shift; 0 returns the pictures as they are.
        generator: Source of randomness.
    """
    if pixels == 0:
        return images
    size = images.shape[-1]
    flat = images.flatten(0, 1)
    padded = F.pad(flat, (pixels,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * pixels + 1, (len(flat), 2), generator=generator).tolist()
    moved = [picture[:, y : y + size, x : x + size] for picture, (y, x) in zip(padded, offsets, strict=True)]
    return torch.stack(moved).view_as(images)


def random_light(images: Tensor, brightness: float, contrast: float, generator: torch.Generator) -> Tensor:
    """Change brightness and contrast of every picture.

    Args:
        images: Intensities from 0 to 255, floating point, shape (N, C, 3, S, S).
        brightness: Greatest change, as a share of the full intensity.
        contrast: Greatest change of the distance from the picture's mean, as a share.
        generator: Source of randomness.
    """
    shape = (*images.shape[:2], 1, 1, 1)
    added = 255.0 * brightness * (2.0 * torch.rand(shape, generator=generator) - 1.0)
    stretched = 1.0 + contrast * (2.0 * torch.rand(shape, generator=generator) - 1.0)
    mean = images.mean(dim=(2, 3, 4), keepdim=True)
    return ((images - mean) * stretched + mean + added).clamp(0.0, 255.0)
