"""Statistics of observations: what they are, when they are estimated, and what is refused."""

import gymnasium
import numpy as np
import pytest
import torch

from agent.config import InputError
from agent.normalisation import NormalisedVectors, check_normalisation
from agent.transition import TransitionSpec


def test_statistics_of_batches_are_those_of_all_of_them(spec):
    rng = np.random.default_rng(0)
    # Large beside its spread, as positions of a far frame are; each batch has a mean of its own.
    values = 100.0 + rng.normal(size=(6, 1, 5)) + rng.normal(0.0, 0.02, (6, 32, 5))
    batches = torch.from_numpy(values).float()
    encoder = NormalisedVectors(spec, 6, "IQL")
    for batch in batches:
        assert encoder.is_estimating
        encoder.estimate({"state": batch})
    assert not encoder.is_estimating
    everything = batches.flatten(0, 1).double()
    torch.testing.assert_close(encoder.mean, everything.mean(0))
    torch.testing.assert_close(encoder.variance, everything.var(0, correction=0))
    features = encoder({"state": batches.flatten(0, 1)})
    expected = (everything - everything.mean(0)) / (everything.std(0, correction=0) + 1e-3)
    torch.testing.assert_close(features, expected.float(), atol=1e-3, rtol=0)


def test_what_never_changes_keeps_its_unit(spec):
    encoder = NormalisedVectors(spec, 2, "IQL")
    state = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    state[:, 2] = 0.1
    for _ in range(2):
        encoder.estimate({"state": state})
    state[:, 2] = 0.35
    torch.testing.assert_close(encoder({"state": state})[:, 2], torch.full((16,), 0.25))


def test_without_batches_to_estimate_from_observations_stay_as_they_are(spec):
    encoder = NormalisedVectors(spec, 0, "IQL")
    state = torch.randn(4, 5)
    assert not encoder.is_estimating
    assert torch.equal(encoder({"state": state}), state)
    assert encoder.learned_state() == {}


def test_several_keys_lie_side_by_side():
    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    spaces = gymnasium.spaces.Dict({"a": box, "b": box}), gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    encoder = NormalisedVectors(TransitionSpec.of(*spaces), 1, "IQL")
    encoder.estimate(
        {"a": torch.tensor([[0.0, 1.0], [0.0, 3.0]]), "b": torch.tensor([[5.0, 0.0], [7.0, 0.0]])}
    )
    assert encoder.mean.tolist() == [0.0, 2.0, 6.0, 0.0]


def test_statistics_survive_in_the_middle_of_their_estimation(spec):
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(8, 5, generator=generator) for _ in range(4)]
    first, second = (NormalisedVectors(spec, 4, "IQL") for _ in range(2))
    for batch in batches[:2]:
        first.estimate({"state": batch})
    second.load_learned_state(first.learned_state())
    for batch in batches[2:]:
        first.estimate({"state": batch})
        second.estimate({"state": batch})
    assert not second.is_estimating
    assert torch.equal(first({"state": batches[0]}), second({"state": batches[0]}))


@pytest.mark.parametrize("name", ["IQL", "TD3+BC"])
def test_cameras_are_refused(camera_spec, name):
    with pytest.raises(InputError) as caught:
        NormalisedVectors(camera_spec, 0, name)
    assert str(caught.value) == (
        f"{name} learns from vectors, but the task has cameras ['front', 'wrist']: use algorithm=drq, or leave the "
        "cameras out."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((True, 0, 10), "normalise_over 0 must be at least 1"),
        ((False, 0, 10), "normalise_over 0 must be at least 1"),
        ((True, 10, 10), "offline_updates 10 must be more than normalise_over 10"),
        ((True, 10, 0), "offline_updates 0 must be more than normalise_over 10"),
    ],
)
def test_statistics_that_would_never_be_whole_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_normalisation(*arguments)
    check_normalisation(False, 10, 0)
    check_normalisation(True, 10, 11)
