import msgspec
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from controllers.config import InputError
from reward_models.success_classifier.classifier import load_classifier


@pytest.fixture
def path(made, tmp_path):
    path = tmp_path / "models" / "squares.safetensors"
    made.classifier.save(path)
    return path


def test_a_saved_classifier_says_the_same(made, path, frames):
    loaded = load_classifier(path)
    assert loaded.card == made.classifier.card
    for one, other in zip(loaded.judge(frames.inputs), made.classifier.judge(frames.inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [file.name for file in path.parent.iterdir()] == [path.name], "nothing half-written is left"


def test_a_verdict_does_not_depend_on_the_others(made, frames):
    together = made.classifier.judge(frames.inputs)
    alone = made.classifier.judge(frames.take(np.array([3])).inputs)
    assert alone.probability[0] == pytest.approx(together.probability[3], rel=1e-4)


def test_pictures_unlike_those_of_the_fit_are_told(made, frames):
    judge = made.classifier.judge
    assert (judge(frames.inputs).novelty > 1.0).mean() < 0.1
    dark = frames.inputs._replace(images=frames.inputs.images // 8)
    assert (judge(dark).novelty > 1.0).mean() > 0.9


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no classifier .*absent.* `journeyman reward fit`"):
        load_classifier(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100])
def test_a_file_of_something_else(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.safetensors cannot be read"):
        load_classifier(path)


def test_tensors_of_something_else(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not a success classifier"):
        load_classifier(path)


def rewrite(path, tensors=None, **changes):
    """The file with other tensors or another card."""
    with safe_open(path, "pt") as file:
        card = {**msgspec.json.decode(file.metadata()["journeyman.success_classifier"]), **changes}
    header = {"journeyman.success_classifier": msgspec.json.encode(card).decode()}
    save_file(load_file(path) if tensors is None else tensors, path, header)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 0}, "format version 0"),
        ({"preprocessing_hash": "0123456789abcdef"}, "preprocessing 0123456789abcdef"),
        ({"threshold": "high"}, "unreadable header"),
        ({"novelties": 1}, "novelties"),
    ],
)
def test_a_card_that_does_not_fit(path, changes, message):
    rewrite(path, **changes)
    with pytest.raises(InputError, match=message):
        load_classifier(path)


def test_a_preprocessing_that_was_tampered_with(path):
    preprocessing = msgspec.to_builtins(load_classifier(path).card.preprocessing)
    rewrite(path, preprocessing={**preprocessing, "mean": 0.4})
    with pytest.raises(InputError, match="fit it again"):
        load_classifier(path)


def test_tensors_that_are_missing(path):
    tensors = load_file(path)
    for name in ("network.trunk.0.weight", "novelty.mean"):
        rewrite(path, {key: value for key, value in tensors.items() if key != name})
        with pytest.raises(InputError, match="is damaged"):
            load_classifier(path)


def test_a_folder_that_cannot_be_written(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        made.classifier.save(tmp_path / "file" / "x.safetensors")
