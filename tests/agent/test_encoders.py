"""Encoders: what trains, what stays, what is refused."""

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from agent.backbones import ResNet10Backbone
from agent.config import InputError
from agent.encoders import EncoderConfig, ImageEncoder, random_shift
from agent.transition import TransitionSpec


def make_spec(size=32, cameras=("front", "wrist")):
    spaces = {"state": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)}
    spaces |= {name: gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8) for name in cameras}
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (2,), np.float32))


def make_observation(rows, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = {
        name: torch.randint(0, 256, (rows, size, size, 3), dtype=torch.uint8, generator=generator)
        for name in ("front", "wrist")
    }
    return {"state": torch.randn(rows, 3, generator=generator), **images}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet10.safetensors"
    save_file(ResNet10Backbone().state_dict(), path)
    return str(path)


CHOICES = {
    "conv": {"kind": "conv"},
    "conv with other channels": {"kind": "conv", "channels": (8, 16)},
    "resnet10": {"kind": "resnet10"},
    "resnet10 from weights": {"kind": "resnet10", "weights": True},
    "resnet10, frozen": {"kind": "resnet10", "weights": True, "frozen": True},
    "timm": {"kind": "timm/small.v1"},
    "timm, learning": {"kind": "timm/small.v1", "frozen": False},
    "torchvision": {"kind": "torchvision/small"},
    "torchvision, learning": {"kind": "torchvision/small", "frozen": False},
}

FROZEN = ("resnet10, frozen", "timm", "torchvision")


@pytest.fixture(autouse=True)
def libraries(vision):
    """Stand for timm and torchvision in all tests here."""


def make_encoder(choice, weights, **changes):
    settings = {**CHOICES[choice], "features": 10, **changes}
    if "weights" in settings:
        settings["weights"] = weights
    return ImageEncoder(EncoderConfig(**settings), make_spec())


@pytest.mark.parametrize("choice", CHOICES)
def test_everything_that_trains_moves_and_what_is_frozen_stays(choice, weights):
    encoder = make_encoder(choice, weights)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], 1e-3)
    encoder(make_observation(4)).square().sum().backward()
    optimizer.step()
    for name, value in encoder.state_dict().items():
        is_statistics = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        stays = is_statistics or (choice in FROZEN and ".backbone." in name)
        assert torch.equal(value, before[name]) == stays, name


@pytest.mark.parametrize("choice", CHOICES)
def test_features_are_of_every_camera_and_the_vectors(choice, weights):
    encoder = make_encoder(choice, weights, precision="float32")
    observation = make_observation(4)
    features = encoder(observation)
    assert features.shape == (4, encoder.size)
    assert encoder.size == 2 * 10 + 3
    assert torch.equal(features[:, -3:], observation["state"])
    for index, name in enumerate(("front", "wrist")):
        changed = encoder({**observation, name: 255 - observation[name]})
        of_camera = slice(10 * index, 10 * (index + 1))
        assert not torch.allclose(changed[:, of_camera], features[:, of_camera], atol=1e-4)
        changed[:, of_camera] = features[:, of_camera]
        torch.testing.assert_close(changed, features)


@pytest.mark.parametrize("choice", CHOICES)
def test_one_image_is_seen_as_among_others(choice, weights):
    encoder = make_encoder(choice, weights, precision="float32")
    observation = make_observation(4)
    alone = encoder({key: values[2:3] for key, values in observation.items()})
    torch.testing.assert_close(alone[0], encoder(observation)[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_lower_precision_changes_little(weights, precision):
    observation = make_observation(4)
    exact = make_encoder("resnet10, frozen", weights, precision="float32")
    other = make_encoder("resnet10, frozen", weights, precision=precision)
    other.load_learned_state(exact.learned_state())
    features = other(observation)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, exact(observation), rtol=0.0, atol=0.1)


@pytest.mark.parametrize("choice", FROZEN)
def test_a_frozen_backbone_is_not_published(choice, weights):
    encoder = make_encoder(choice, weights)
    learned = encoder.learned_state()
    assert learned
    assert not any(".backbone." in name for name in learned)
    other = make_encoder(choice, weights)
    other.load_learned_state(learned)
    observation = make_observation(2)
    torch.testing.assert_close(other(observation), encoder(observation))


def test_convolutions_work_in_place_on_nothing_but_their_own(weights):
    camera = make_encoder("conv", weights, precision="float32").cameras["front"]
    image = make_observation(4)["front"]
    before = image.clone()
    maps = camera.maps(image)
    gradients = torch.autograd.grad(maps.square().sum(), camera.backbone.parameters())
    expected = image.permute(0, 3, 1, 2).float() / 255.0 - 0.5
    for layer in camera.backbone.layers:
        expected = layer(expected).relu()
    assert torch.equal(image, before)
    torch.testing.assert_close(maps, expected)
    expected_gradients = torch.autograd.grad(expected.square().sum(), camera.backbone.parameters())
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("choice", ["conv", "resnet10"])
def test_groups_of_images_are_seen_and_learned_from_as_all_at_once(choice, weights, monkeypatch):
    camera = make_encoder(choice, weights, precision="float32").cameras["front"]
    image = make_observation(5)["front"]

    def learned(at_a_time):
        monkeypatch.setattr("agent.encoders._PIXELS_AT_A_TIME", at_a_time * 32 * 32)
        seen = []
        hook = camera.backbone.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
        maps = camera.maps(image)
        hook.remove()
        return seen, maps, torch.autograd.grad(maps.square().mean(), camera.backbone.parameters())

    whole, groups = learned(5), learned(2)
    assert whole[0] == [5]
    assert groups[0] == [2, 2, 1]
    torch.testing.assert_close(groups[1:], whole[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_what_frozen_backbones_see_may_be_kept_for_the_next_time(choice, weights):
    encoder = make_encoder(choice, weights)
    observation = make_observation(5)
    kept = encoder.with_frozen_maps(observation, 2)
    for name in ("front", "wrist"):
        assert (kept[name] is observation[name]) == (choice not in FROZEN)
    torch.testing.assert_close(encoder(kept), encoder(observation))
    again = encoder.with_frozen_maps(kept, 2)
    assert all(again[name] is kept[name] for name in kept)


def test_all_cameras_have_weights_of_their_own(weights):
    encoder = make_encoder("conv", weights)
    first, second = (encoder.cameras[name].backbone.layers[0].weight for name in ("front", "wrist"))
    assert first is not second
    assert not torch.equal(first, second)


def test_a_shift_moves_whole_images_and_repeats_the_border():
    image = torch.arange(10 * 12, dtype=torch.uint8).reshape(1, 10, 12, 1).repeat(200, 1, 1, 3)
    shifted = random_shift(image, 3, torch.Generator().manual_seed(0))
    assert shifted.shape == image.shape
    assert shifted.dtype == torch.uint8
    padded = np.pad(image[0, :, :, 0].numpy(), 3, mode="edge")
    windows = {padded[y : y + 10, x : x + 12].tobytes() for y in range(7) for x in range(7)}
    found = {one[:, :, 0].numpy().tobytes() for one in shifted}
    assert found <= windows
    assert len(found) > 40  # Each image has a shift of its own.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "conv", "frozen": True}, "go with other kinds than conv"),
        ({"kind": "conv", "weights": "file"}, "go with other kinds than conv"),
        ({"kind": "vit"}, "'vit' must be conv, resnet10, or a pretrained network by library and name"),
        ({"kind": "timm/"}, "'timm/' must be"),
        ({"kind": "hub/resnet18"}, "'hub/resnet18' must be"),
        ({"kind": "timm/small.v1", "frozen": False, "cache": True}, "needs encoder.frozen"),
        ({"kind": "resnet10", "frozen": True}, "needs encoder.weights"),
        ({"kind": "resnet10", "cache": True}, "needs encoder.frozen"),
        ({"channels": ()}, "channels"),
        ({"features": 0}, "features"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        EncoderConfig(**changes)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(InputError, match="8 x 8 pixels are too small"):
        ImageEncoder(EncoderConfig(), make_spec(size=8))


def test_images_that_a_pretrained_network_does_not_take_are_refused(vision):
    vision.timm.create_model = lambda name, **_: OfOneSize()
    with pytest.raises(InputError, match=r"32 x 32 pixels \(only 224\): choose the size in task\.cameras"):
        ImageEncoder(EncoderConfig(kind="timm/small.v1"), make_spec())


class OfOneSize(torch.nn.Module):
    pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def forward_intermediates(self, image, indices, intermediates_only):
        raise AssertionError("only 224")


def test_a_task_without_cameras_is_refused():
    with pytest.raises(InputError, match=r"add task\.cameras, or choose algorithm=rlpd"):
        ImageEncoder(EncoderConfig(), make_spec(cameras=()))


def test_weights_that_are_none_are_refused(tmp_path):
    def load(path):
        ImageEncoder(EncoderConfig(kind="resnet10", weights=str(path)), make_spec())

    with pytest.raises(InputError, match=r"nowhere.*cannot be read"):
        load(tmp_path / "nowhere")
    (tmp_path / "text").write_text("these are no weights")
    with pytest.raises(InputError, match="text cannot be read"):
        load(tmp_path / "text")
    save_file({"stem.weight": torch.zeros(3, 3)}, tmp_path / "other")
    with pytest.raises(InputError, match="does not fit the backbone ResNet10Backbone"):
        load(tmp_path / "other")
