"""Flow matching: its loss and its integration by hand, and two answers of which it never gives the middle."""

import pytest
import torch

from agent.flow import FlowPolicy, FourierTime
from agent.networks import GaussianActor


class Field(FlowPolicy):
    """A flow whose velocity is known."""

    def __init__(self, velocity):
        super().__init__(1, 2, hidden_size=4, blocks=1)
        self._known = velocity
        self.asked = []

    def velocity(self, features, point, t):
        self.asked.append((point, t))
        return self._known(features, point, t)


def test_the_loss_is_the_error_of_the_velocity_on_the_straight_way_from_noise_to_action():
    flow = Field(lambda features, point, t: torch.zeros_like(point))
    action, noise = torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]])
    loss = flow.loss(torch.zeros(2, 1), action, noise, torch.tensor([0.25, 1.0]))
    point, _ = flow.asked[0]
    assert point.tolist() == [[0.25, 1.5], [0.0, -1.0]]
    assert float(loss) == pytest.approx((1.0 + 4.0 + 0.0 + 4.0) / 4)  # Of (1, -2) and (0, -2).
    exact = Field(lambda *_: action - noise)
    assert float(exact.loss(torch.zeros(2, 1), action, noise, torch.rand(2))) == 0.0


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_sampling_follows_a_straight_field_exactly_in_any_number_of_steps(steps):
    noise, action = torch.randn(5, 2), 2.0 * torch.rand(5, 2) - 1.0
    flow = Field(lambda *_: action - noise)
    torch.testing.assert_close(flow.sample(torch.zeros(5, 1), noise, steps), action)
    assert [float(t[0]) for _, t in flow.asked] == pytest.approx([step / steps for step in range(steps)])


def test_what_is_sampled_is_an_action():
    flow = Field(lambda features, point, t: torch.full_like(point, 5.0))
    assert flow.sample(torch.zeros(3, 1), torch.zeros(3, 2)).tolist() == [[1.0, 1.0]] * 3


def test_features_and_time_matter():
    torch.manual_seed(0)
    flow, point = FlowPolicy(3, 2, hidden_size=16, blocks=2), torch.zeros(1, 2)
    zero, one = torch.zeros(1), torch.ones(1)
    velocity = flow.velocity(torch.zeros(1, 3), point, zero)
    assert velocity.shape == (1, 2)
    assert not torch.allclose(velocity, flow.velocity(torch.ones(1, 3), point, zero))
    assert not torch.allclose(velocity, flow.velocity(torch.zeros(1, 3), point, one))


def test_no_two_times_look_alike():
    embedded = FourierTime(16)(torch.linspace(0, 1, 101))
    assert embedded.shape == (101, 16)
    assert float((torch.cdist(embedded, embedded) + torch.eye(101)).min()) > 0.1


def test_of_two_answers_it_gives_either_and_never_the_middle_as_a_regression_does():
    torch.manual_seed(1)
    flow, regression = FlowPolicy(1, 2, hidden_size=32, blocks=2), torch.nn.Linear(1, 2)
    gaussian = GaussianActor(1, 2, (32,), layer_norm=True)
    learning = [*flow.parameters(), *regression.parameters(), *gaussian.parameters()]
    optimizer = torch.optim.Adam(learning, 3e-3)
    answers = torch.tensor([[0.7, 0.5], [-0.7, -0.5]])
    features, action = torch.ones(256, 1), answers.repeat(128, 1)
    for _ in range(400):
        loss = flow.loss(features, action, torch.randn(256, 2), torch.rand(256))
        loss = loss + (regression(features) - action).square().mean()
        loss = loss + gaussian.imitation_loss(features, action, -1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        sampled = flow.sample(features, torch.randn(256, 2))
        regressed = torch.stack([regression(features)[0], gaussian(features)[0][0].tanh()])
    distance = torch.cdist(sampled, answers)
    assert float((distance.min(1).values < 0.2).float().mean()) > 0.85
    assert float((sampled.norm(dim=1) < 0.43).float().mean()) < 0.05  # Nearer to the middle than to either.
    assert 0.35 < float((distance[:, 0] < distance[:, 1]).float().mean()) < 0.65
    assert float(torch.cdist(regressed, answers).min()) > 0.43
