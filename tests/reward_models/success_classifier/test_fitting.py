import msgspec
import numpy as np
import pytest
import torch

from controllers.config import InputError
from reward_models.success_classifier.augmentation import random_light, random_shift
from reward_models.success_classifier.calibration import negative_log_likelihood
from reward_models.success_classifier.classifier import make_network
from reward_models.success_classifier.fitting import FitConfig, fit
from reward_models.success_classifier.frames import read_frames
from reward_models.success_classifier.network import NetworkConfig


def test_it_learns_what_the_labels_show(made, make_folder, preprocessing):
    others = read_frames([make_folder(seed=7)], preprocessing)
    called = made.classifier.judge(others.inputs).probability > made.classifier.card.threshold
    assert called[others.success].mean() > 0.8
    assert called[~others.success].mean() < 0.05


def test_the_same_frames_and_seed_give_the_same_classifier(made, frames, preprocessing, small):
    again = fit(frames, preprocessing, small, "squares").classifier
    for name, value in made.classifier.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert again.card == made.classifier.card


def test_every_parameter_moves(frames, preprocessing, small):
    config = msgspec.structs.replace(small, epochs=2, patience=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        before = make_network(preprocessing, config.network).state_dict()
    after = fit(frames, preprocessing, config).classifier.network.state_dict()
    assert not [name for name, value in before.items() if torch.equal(value, after[name])]


def test_calibration_improves_the_held_out_loss(made):
    card = made.classifier.card
    assert card.fit["loss"] <= card.fit["loss_before_calibration"]
    probability = np.clip(made.classifier.judge(made.held_out.inputs).probability, 1e-12, 1 - 1e-12)
    logits = np.log(probability) - np.log1p(-probability)
    assert negative_log_likelihood(logits, made.held_out.success) == pytest.approx(card.fit["loss"], abs=1e-3)


def test_the_threshold_keeps_to_the_wanted_rate(made, frames, preprocessing, small):
    probability = made.classifier.judge(made.held_out.inputs).probability
    failures = probability[~made.held_out.success]
    assert (failures > made.classifier.card.threshold).mean() <= small.false_positive_rate
    strict, lax = (
        fit(
            frames, preprocessing, msgspec.structs.replace(small, epochs=1, false_positive_rate=rate)
        ).threshold
        for rate in (0.01, 0.4)
    )
    assert strict.probability >= lax.probability


def test_proprioception_can_be_seen_too(folder, preprocessing, small):
    chosen = msgspec.structs.replace(preprocessing, state_names=("gripper_width",))
    frames = read_frames([folder], chosen)
    made = fit(frames, chosen, small)
    inputs = made.held_out.inputs
    closed = inputs._replace(state=inputs.state + 1.0)
    assert not np.array_equal(
        made.classifier.judge(inputs).probability, made.classifier.judge(closed).probability
    )


@pytest.mark.parametrize("verdict", [True, False])
def test_labels_of_one_class_are_refused(frames, preprocessing, small, verdict):
    with pytest.raises(InputError, match=f"no {'failure' if verdict else 'success'}"):
        fit(frames.take(frames.success == verdict), preprocessing, small)


def test_pictures_are_moved_and_lit_within_bounds():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 2, 3, 16, 16, generator=generator) * 255.0
    assert random_shift(images, 0, generator) is images
    moved = random_shift(images, 3, generator)
    assert moved.shape == images.shape
    # The middle of a moved picture is some part of the picture it was.
    middle = moved[0, 0, :, 5:11, 5:11]
    places = [(y, x) for y in range(2, 9) for x in range(2, 9)]
    assert any(torch.equal(middle, images[0, 0, :, y : y + 6, x : x + 6]) for y, x in places)
    lit = random_light(images, 0.1, 0.2, generator)
    assert lit.min() >= 0.0
    assert lit.max() <= 255.0
    assert (lit - images).abs().max() <= 0.1 * 255 + 0.2 * 255
    assert torch.equal(random_light(images, 0.0, 0.0, generator).round(), images.round())


@pytest.mark.parametrize(
    "values",
    [
        {"held_out": 0.0},
        {"false_positive_rate": 1.0},
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"seed": -1},
    ],
)
def test_what_cannot_be_meant_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        FitConfig(**values)


@pytest.mark.parametrize("values", [{"channels": ()}, {"features": 0}, {"dropout": 1.0}])
def test_a_network_of_nothing_is_refused(values):
    with pytest.raises(ValueError, match="must be positive"):
        NetworkConfig(**values)
