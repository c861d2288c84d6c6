"""The classifier: network, preprocessing, temperature, threshold and novelty, as one file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from agent.storage import write_atomically
from agent.tensors import above, below
from controllers.config import Config, InputError
from reward_models.success_classifier.calibration import sigmoid
from reward_models.success_classifier.network import NetworkConfig, SuccessNetwork
from reward_models.success_classifier.novelty import Novelty, describe
from reward_models.success_classifier.preprocessing import Inputs, Preprocessing

FORMAT_VERSION = 1
_CARD = "journeyman.success_classifier"
_BATCH = 256


class Card(Config):
    """Everything about a classifier that is not a tensor; JSON in the header of its file.

    Attributes:
        format_version: Of the file.
        task: Name of the task whose success it knows.
        preprocessing: From frames to what the network sees.
        preprocessing_hash: Of that, when the classifier was fitted.
        network: Sizes.
        temperature: Logits are divided by it.
        threshold: A probability above it is a success.
        false_positive_rate: What the threshold was chosen for.
        fit: Numbers of the fit, for people.
    """

    format_version: int
    task: str
    preprocessing: Preprocessing
    preprocessing_hash: str
    network: NetworkConfig
    temperature: float
    threshold: float
    false_positive_rate: float
    fit: dict[str, Any] = {}


class Judgement(NamedTuple):
    """What the classifier says about N observations.

    Attributes:
        probability: Of success, calibrated for as many successes as failures, float64, shape (N,).
        novelty: Distance from the pictures of the fit, as a multiple of the limit, float64, shape (N,).
    """

    probability: NDArray[np.float64]
    novelty: NDArray[np.float64]


class SuccessClassifier:
    """A fitted network and what goes with it.

    Args:
        card: What it is.
        network: In evaluation mode.
        novelty: Tells unfamiliar pictures.
    """

    def __init__(self, card: Card, network: SuccessNetwork, novelty: Novelty) -> None:
        self.card = card
        self.network = network.eval()
        self.novelty = novelty

    def judge(self, inputs: Inputs) -> Judgement:
        """Judge N preprocessed observations."""
        parts = [
            (logits / self.card.temperature, self.novelty.distance(described) / self.novelty.limit)
            for logits, described in outputs(self.network, self.card.preprocessing, inputs)
        ]
        logits, novelty = (torch.cat(values).double().numpy() for values in zip(*parts, strict=True))
        return Judgement(sigmoid(logits), novelty)

    def save(self, path: Path) -> None:
        """Write the file; it appears under its name when it is whole and on disk.

        Raises:
            InputError: It cannot be written.
        """
        tensors = above("network.", self.network.state_dict()) | above("novelty.", self.novelty._asdict())
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, save(tensors, {_CARD: msgspec.json.encode(self.card).decode()}))
        except (OSError, SafetensorError) as error:
            raise InputError(f"The classifier cannot be written to {path}: {error}.") from None


def outputs(
    network: SuccessNetwork, preprocessing: Preprocessing, inputs: Inputs
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits, shape (B,), and descriptions, shape (B, D), in batches, without gradients or dropout."""
    network.eval()
    for begin in range(0, len(inputs.images), _BATCH):
        images = torch.from_numpy(inputs.images[begin : begin + _BATCH]).float()
        state = torch.from_numpy(inputs.state[begin : begin + _BATCH])
        with torch.no_grad():
            normal = preprocessing.normalise(images)
            logits, features = network(normal, state)
            yield logits, describe(normal, features)


def make_network(preprocessing: Preprocessing, config: NetworkConfig) -> SuccessNetwork:
    """A network of fresh weights that fits the preprocessing."""
    cameras, states = len(preprocessing.cameras), len(preprocessing.state_names)
    return SuccessNetwork(cameras, preprocessing.size, states, config)


def load_classifier(path: Path) -> SuccessClassifier:
    """Read what `SuccessClassifier.save` wrote.

    Raises:
        InputError: The file is missing, damaged, of another version, or its preprocessing is not what it was.
    """
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(_CARD)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise InputError(
            f"There is no classifier {path}; make one with `journeyman reward fit`, or check the path."
        ) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"Classifier {path} cannot be read ({error}); fit it again.") from None
    if described is None:
        raise InputError(
            f"{path} is not a success classifier; give a file that `journeyman reward fit` made."
        )
    card = _read_card(path, described)
    network = make_network(card.preprocessing, card.network)
    try:
        network.load_state_dict(below("network.", tensors))
        novelty = Novelty(**below("novelty.", tensors))
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"Classifier {path} is damaged ({reason}); fit it again.") from None
    return SuccessClassifier(card, network, novelty)


def _read_card(path: Path, described: str) -> Card:
    try:
        version = dict(json.loads(described)).get("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"Classifier {path} has format version {version}, this program reads {FORMAT_VERSION}; fit it again."
            )
        card = msgspec.json.decode(described, type=Card)
    except (ValueError, TypeError, msgspec.MsgspecError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Classifier {path} has an unreadable header ({error}); fit it again.") from None
    if card.preprocessing.hash != card.preprocessing_hash:
        raise InputError(
            f"Classifier {path} was fitted with preprocessing {card.preprocessing_hash}, but this program would do "
            f"{card.preprocessing.hash}: fit it again with this version."
        )
    return card
