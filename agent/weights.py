"""Policy weights as bytes: safetensors, so that reading them can run no code."""

from collections.abc import Mapping

import torch
from safetensors.torch import load, save


def encode_weights(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors by name to bytes."""
    return save(dict(weights))


def decode_weights(payload: bytes) -> dict[str, torch.Tensor]:
    """The inverse of `encode_weights`.

    Raises:
        safetensors.SafetensorError: These are not weights.
    """
    return load(payload)
