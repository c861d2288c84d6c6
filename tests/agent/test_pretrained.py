"""Pretrained backbones: their normalisation, their BatchNorm, their weights, and what is refused."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from agent.config import InputError
from agent.pretrained import make_pretrained

KINDS = ("timm/small.v1", "torchvision/small")


def expected_maps(state, image):
    """What the small network of the fixture makes of intensities in [0, 1]."""
    mean, deviation = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    normal = (image - mean[:, None, None]) / deviation[:, None, None]
    maps = torch.nn.functional.conv2d(normal, state["conv.weight"], state["conv.bias"], stride=4, padding=1)
    names = ("running_mean", "running_var", "weight", "bias")
    return torch.nn.functional.batch_norm(maps, *(state[f"norm.{name}"] for name in names)).relu()


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_normalised_as_the_network_was_trained_with(kind, vision):
    image = torch.rand(5, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    maps = make_pretrained(kind, None)(image - 0.5)
    assert maps.shape == (5, 8, 4, 6)
    torch.testing.assert_close(maps, expected_maps(vision.state, image))
    assert vision.downloads == 1


@pytest.mark.parametrize("kind", KINDS)
def test_batch_norm_keeps_its_statistics_whatever_is_asked(kind, vision):
    backbone = make_pretrained(kind, None)
    torch.nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.modules())
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.rand(5, 3, 16, 16))
    assert any(name.endswith("running_mean") for name in before)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_needs_no_network(kind, vision, tmp_path):
    save_file(vision.state, tmp_path / "weights")
    vision.problem = OSError("no network")
    image = torch.rand(2, 3, 16, 16)
    maps = make_pretrained(kind, str(tmp_path / "weights"))(image - 0.5)
    torch.testing.assert_close(maps, expected_maps(vision.state, image))
    assert vision.downloads == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_network_is_refused(kind, vision, tmp_path):
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "weights")
    with pytest.raises(InputError, match="weights does not fit the backbone"):
        make_pretrained(kind, str(tmp_path / "weights"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("problem", [OSError("name or service\nnot known"), RuntimeError("offline.")])
def test_without_a_network_it_says_what_to_do(kind, problem, vision):
    vision.problem = problem
    reason = "name or service not known" if isinstance(problem, OSError) else "offline"
    with pytest.raises(
        InputError, match=rf"{kind} could not be downloaded \({reason}\): copy them here"
    ) as caught:
        make_pretrained(kind, None)
    assert "encoder.weights=FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("timm/smal", r"none of the 3 networks of timm, such as timm/small.*choose"),
        ("torchvision/smal", r"none of the 1 networks of torchvision, such as torchvision/small:"),
        ("torchvision/zzz", r"torchvision/zzz is none of.*such as torchvision/small:"),
        ("timm/tokens", r"timm/tokens gives no feature maps"),
    ],
)
def test_an_unknown_name_gets_near_ones(kind, words, vision, tmp_path):
    save_file(torch.nn.Linear(3, 3).state_dict(), tmp_path / "weights")
    with pytest.raises(InputError, match=words):
        make_pretrained(kind, str(tmp_path / "weights"))


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_missing_or_of_another_torch_is_said(library, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        InputError, match=rf"needs {library}, which cannot be imported.*pip install 'journeyman\[vision\]'"
    ):
        make_pretrained(f"{library}/resnet18", None)
    monkeypatch.delitem(sys.modules, library)
    (tmp_path / f"{library}.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"operator torchvision::nms does not exist.*built for torch"):
        make_pretrained(f"{library}/resnet18", None)


@pytest.mark.parametrize(
    ("kind", "size"),
    [("timm/test_resnet.r160_in1k", 64), ("timm/test_vit.r160_in1k", 160), ("torchvision/resnet18", 64)],
)
def test_networks_of_the_libraries_themselves(kind, size, tmp_path):
    library, _, name = kind.partition("/")
    try:
        module = __import__(library)
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"needs {library}: {error}")
    whole = module.create_model(name) if library == "timm" else module.models.get_model(name, weights=None)
    save_file(whole.state_dict(), tmp_path / "weights")
    backbone = make_pretrained(kind, str(tmp_path / "weights"))
    image = torch.rand(2, 3, size, size)
    maps = backbone(image - 0.5)
    assert maps.ndim == 4
    if "resnet" in kind:
        imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # Of torchvision's networks.
        card = getattr(whole, "pretrained_cfg", imagenet)
        mean, deviation = (torch.tensor(card[key])[:, None, None] for key in ("mean", "std"))
        expected = whole.eval()((image - mean) / deviation)
        torch.testing.assert_close(whole.fc(maps.mean((2, 3))), expected, rtol=1e-4, atol=1e-5)
