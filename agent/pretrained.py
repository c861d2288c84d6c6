"""Pretrained backbones by name, from timm or torchvision; these are imported only where one is asked for.

Neither is a dependency: `pip install 'journeyman[vision]'` brings both. A library downloads weights into a cache of its
own, where there is a network; where there is none they come from a file.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from agent.backbones import load_backbone, take_over
from agent.config import InputError

_Weights = TypeVar("_Weights")


class PretrainedBackbone(nn.Module):
    """A network of a library up to its last feature maps, on images normalised as it was trained with.

    It never leaves evaluation mode, whether it is frozen or not: BatchNorm would otherwise follow the statistics of
    each batch, and the actor has one image where the learner has many.

    Args:
        trunk: From normalised images to feature maps, (B, C', H', W').
        mean: Of the intensities, in [0, 1], that it was trained with, one for each of red, green and blue.
        deviation: Their standard deviation.
    """

    _centre: Tensor
    _deviation: Tensor

    def __init__(self, trunk: nn.Module, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.trunk = trunk
        # Not part of its state: they belong to the name, not to the weights.
        self.register_buffer("_centre", torch.tensor(mean).reshape(3, 1, 1) - 0.5, persistent=False)
        self.register_buffer("_deviation", torch.tensor(deviation).reshape(3, 1, 1), persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> "PretrainedBackbone":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, image_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Feature maps, (B, C', H', W'), of intensities from -0.5 to 0.5."""
        maps: Tensor = self.trunk((image_BCHW - self._centre) / self._deviation)
        return maps


class _TimmTrunk(nn.Module):
    """A network of timm without its head; whatever the architecture, maps come as (B, C', H', W')."""

    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BCHW: Tensor) -> Tensor:  # noqa: N803
        (maps,) = self.network.forward_intermediates(image_BCHW, indices=1, intermediates_only=True)
        return maps


def make_pretrained(kind: str, weights: str | None) -> PretrainedBackbone:
    """The backbone that `kind`, such as `timm/resnet18.a1_in1k`, names.

    Args:
        kind: Library and name there; the library must be one of `LIBRARIES`.
        weights: safetensors file with the network's weights; None asks the library, which downloads them once.

    Raises:
        InputError: The library is not there, it has no such network, or there are no weights.
    """
    library, _, name = kind.partition("/")
    try:
        module = import_module(library)
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # torchvision raises all of them if torch is another.
        reason = " ".join(str(error).split())
        raise InputError(
            f"encoder.kind {kind} needs {library}, which cannot be imported ({reason}): pip install "
            f"'journeyman[vision]', with the torchvision that was built for torch {torch.__version__}."
        ) from None
    return LIBRARIES[library](module, name, None if weights is None else Path(weights))


def _from_timm(timm: Any, name: str, weights: Path | None) -> PretrainedBackbone:
    kind = f"timm/{name}"
    _check_name(kind, (*timm.list_models(), *timm.list_models(pretrained=True)))
    if weights is None:
        network = _downloaded(kind, lambda: timm.create_model(name, pretrained=True, num_classes=0))
    else:
        network = timm.create_model(name, num_classes=0)
        classifier = network.pretrained_cfg.get("classifier") or ()
        load_backbone(network, weights, [classifier] if isinstance(classifier, str) else classifier)
    if not hasattr(network, "forward_intermediates"):
        raise InputError(
            f"encoder.kind {kind} gives no feature maps: choose another, such as timm/resnet18.a1_in1k."
        )
    return PretrainedBackbone(
        _TimmTrunk(network), network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    )


def _from_torchvision(torchvision: Any, name: str, weights: Path | None) -> PretrainedBackbone:
    models, kind = torchvision.models, f"torchvision/{name}"
    _check_name(
        kind, models.list_models(module=models)
    )  # Of classifiers of images, not of detectors or videos.
    known = models.get_model_weights(name).DEFAULT
    network = models.get_model(name, weights=None)
    if weights is None:
        # Files there are pickled; such as hold more than tensors are not read.
        options = {"progress": False, "check_hash": True, "weights_only": True}
        take_over(network, _downloaded(kind, lambda: known.get_state_dict(**options)), f"The file of {kind}")
    else:
        load_backbone(network, weights)
    normalisation = known.transforms()
    return PretrainedBackbone(_before_pooling(network), normalisation.mean, normalisation.std)


LIBRARIES: dict[str, Callable[[Any, str, Path | None], PretrainedBackbone]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
}
"""Where a name can come from."""


def _before_pooling(network: nn.Module) -> nn.Module:
    """The layers of a torchvision classifier in order, up to where the feature maps end."""

    def is_map(named: tuple[str, nn.Module]) -> bool:
        name, layer = named
        return name != "classifier" and not isinstance(layer, nn.AdaptiveAvgPool2d | nn.Linear)

    return nn.Sequential(*(layer for _, layer in takewhile(is_map, network.named_children())))


def _check_name(kind: str, names: Iterable[str]) -> None:
    library, _, name = kind.partition("/")
    if name in (known := set(names)):
        return
    near = difflib.get_close_matches(name, sorted(known), 3) or sorted(known)[:3]
    raise InputError(
        f"encoder.kind {kind} is none of the {len(known)} networks of {library}, such as "
        f"{', '.join(f'{library}/{other}' for other in near)}: choose one of them."
    )


def _downloaded(kind: str, download: Callable[[], _Weights]) -> _Weights:
    try:
        return download()
    except Exception as error:  # Which ones depends on the library's version and on what it downloads with.
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"The weights of encoder.kind {kind} could not be downloaded ({reason}): copy them here as a safetensors "
            "file and give encoder.weights=FILE, or choose encoder.kind=conv, which needs none."
        ) from None
