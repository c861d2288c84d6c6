"""Fits a classifier to labelled frames: balanced classes, augmentation, early stopping, calibration, threshold."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from agent.gradients import descend
from controllers.config import Config
from reward_models.success_classifier.augmentation import random_light, random_shift
from reward_models.success_classifier.calibration import (
    Threshold,
    choose_threshold,
    fit_temperature,
    negative_log_likelihood,
    sigmoid,
)
from reward_models.success_classifier.classifier import (
    FORMAT_VERSION,
    Card,
    SuccessClassifier,
    make_network,
    outputs,
)
from reward_models.success_classifier.frames import Frames, split_by_episode
from reward_models.success_classifier.network import NetworkConfig, SuccessNetwork
from reward_models.success_classifier.novelty import fit_novelty
from reward_models.success_classifier.preprocessing import Inputs, Preprocessing

# Of an epoch: with few frames, a look at the held-out loss after each of them would cost more than the fit.
_FEWEST_BATCHES = 10

Progress = Callable[[int, float], None]


class FitConfig(Config):
    """How a classifier is fitted.

    Attributes:
        held_out: Share of the episodes that early stopping, temperature and threshold use instead of the fit.
        false_positive_rate: Share of failures that may be called a success.
        epochs: Most passes over the data.
        patience: Passes without a better held-out loss after which it stops.
        batch_size: Frames of a batch, half of them successes.
        learning_rate: Of Adam.
        weight_decay: Of its decoupled decay.
        shift: Augmentation: greatest move of a picture, pixels.
        brightness: Augmentation: greatest change, as a share of the full intensity.
        contrast: Augmentation: greatest change, as a share.
        novel_share: Share of held-out frames that is called unfamiliar.
        network: Sizes.
        seed: Of everything random.
    """

    held_out: float = 0.3
    false_positive_rate: float = 0.01
    epochs: int = 60
    patience: int = 12
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    shift: int = 2
    brightness: float = 0.1
    contrast: float = 0.2
    novel_share: float = 0.01
    network: NetworkConfig = NetworkConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("held_out", "false_positive_rate", "novel_share"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} {getattr(self, name)} must lie between 0 and 1")
        if min(self.epochs, self.patience) < 1 or self.batch_size < 2 or self.shift < 0:
            raise ValueError(
                f"epochs {self.epochs} and patience {self.patience} must be at least 1, batch_size {self.batch_size} "
                f"at least 2, and shift {self.shift} not negative"
            )
        if not self.learning_rate > 0.0 or min(self.weight_decay, self.brightness, self.contrast) < 0.0:
            raise ValueError(
                f"learning_rate {self.learning_rate} must be positive, and weight_decay {self.weight_decay}, "
                f"brightness {self.brightness} and contrast {self.contrast} not negative"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed {self.seed} must lie between 0 and 2147483647")


class Fit(NamedTuple):
    """What came of it.

    Attributes:
        classifier: Of the epoch with the best held-out loss.
        held_out: The frames that were not fitted.
        threshold: How it was chosen.
    """

    classifier: SuccessClassifier
    held_out: Frames
    threshold: Threshold


def fit(
    frames: Frames,
    preprocessing: Preprocessing,
    config: FitConfig,
    task: str = "",
    progress: Progress = lambda _epoch, _loss: None,
) -> Fit:
    """Fit a classifier. The same frames and seed give the same one.

    Args:
        frames: Labelled, of several episodes.
        preprocessing: What made their inputs.
        config: How.
        task: Name of the task, for the card.
        progress: Told every epoch and its held-out loss, in nats.

    Raises:
        InputError: A class is missing on either side of the division by episodes.
    """
    fitted, held_out = split_by_episode(frames, config.held_out, np.random.default_rng(config.seed))
    with torch.random.fork_rng(devices=[]):  # Weights and dropout draw from the global generator.
        torch.manual_seed(config.seed)
        network = make_network(preprocessing, config.network)
        epochs, loss = _train(network, fitted, held_out, preprocessing, config, progress)
    _, seen = _outputs(network, preprocessing, fitted.inputs)
    logits, described = _outputs(network, preprocessing, held_out.inputs)
    numbers = logits.double().numpy()
    temperature = fit_temperature(numbers, held_out.success)
    probabilities = sigmoid(numbers / temperature)
    threshold = choose_threshold(probabilities[~held_out.success], config.false_positive_rate)
    card = Card(
        format_version=FORMAT_VERSION,
        task=task,
        preprocessing=preprocessing,
        preprocessing_hash=preprocessing.hash,
        network=config.network,
        temperature=temperature,
        threshold=threshold.probability,
        false_positive_rate=config.false_positive_rate,
        fit={
            "epochs": epochs,
            "loss_before_calibration": loss,
            "loss": negative_log_likelihood(numbers / temperature, held_out.success),
            "fitted": _described(fitted),
            "held_out": _described(held_out),
            "threshold": threshold._asdict(),
        },
    )
    return Fit(
        SuccessClassifier(card, network, fit_novelty(seen, described, config.novel_share)),
        held_out,
        threshold,
    )


def _train(
    network: SuccessNetwork,
    fitted: Frames,
    held_out: Frames,
    preprocessing: Preprocessing,
    config: FitConfig,
    progress: Progress,
) -> tuple[int, float]:
    """Train until the held-out loss has not fallen for long; the network ends as it was at its best.

    Returns:
        Epochs up to the best, and its held-out loss in nats.
    """
    generator = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    best_epoch, best_loss, best = 0, float("inf"), deepcopy(network.state_dict())
    rng = np.random.default_rng(config.seed)
    for epoch in range(1, config.epochs + 1):
        network.train()
        for _ in range(max(_FEWEST_BATCHES, len(fitted) // config.batch_size)):
            batch = _balanced_batch(fitted.success, config.batch_size, rng)
            loss = _batch_loss(
                network, fitted.inputs, fitted.success, batch, preprocessing, config, generator
            )
            descend(optimiser, loss)
        logits, _ = _outputs(network, preprocessing, held_out.inputs)
        held_out_loss = negative_log_likelihood(logits.double().numpy(), held_out.success)
        progress(epoch, held_out_loss)
        if held_out_loss < best_loss:
            best_epoch, best_loss, best = epoch, held_out_loss, deepcopy(network.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
    network.load_state_dict(best)
    return best_epoch, best_loss


def _balanced_batch(success: NDArray[np.bool_], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of as many successes as failures, as SERL does it."""
    half = size // 2
    chosen = [rng.choice(np.flatnonzero(success == verdict), half) for verdict in (True, False)]
    return np.concatenate(chosen)


def _batch_loss(
    network: SuccessNetwork,
    inputs: Inputs,
    success: NDArray[np.bool_],
    batch: NDArray[np.int64],
    preprocessing: Preprocessing,
    config: FitConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """Binary cross-entropy of an augmented batch."""
    images = random_shift(torch.from_numpy(inputs.images[batch]).float(), config.shift, generator)
    images = random_light(images, config.brightness, config.contrast, generator)
    state = torch.from_numpy(inputs.state[batch])
    logits, _ = network(preprocessing.normalise(images), state)
    return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(success[batch]).float())


def _outputs(
    network: SuccessNetwork, preprocessing: Preprocessing, inputs: Inputs
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and descriptions of all frames."""
    logits, descriptions = zip(*outputs(network, preprocessing, inputs), strict=True)
    return torch.cat(logits), torch.cat(descriptions)


def _described(frames: Frames) -> dict[str, Any]:
    successes, failures = frames.counts()
    episodes = sorted({str(Path(frames.names[number]).absolute()) for number in frames.episode.tolist()})
    return {"successes": successes, "failures": failures, "episodes": episodes}
