"""Losses with their gradients: the same steps as by `backward`."""

import copy

import pytest
import torch
from torch import nn

from agent.gradients import WithGradients, descend, follow


def stepped(gradient):
    """A parameter, shape (3, 4), after two steps of Adam by a gradient."""
    parameter = nn.Parameter(torch.zeros(3, 4))
    optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
    for factor in (1.0, -0.3):
        follow(optimizer, (gradient * factor if factor != 1.0 else gradient,))
    return parameter.detach()


@pytest.mark.parametrize(
    "gradient", [torch.arange(12.0).reshape(4, 3).T - 5.0, (torch.arange(4.0) - 1.3).expand(3, 4)]
)
def test_a_gradient_may_lie_in_memory_as_it_likes(gradient):
    assert not gradient.is_contiguous()
    assert torch.equal(stepped(gradient), stepped(gradient.contiguous()))


class Learner:
    """Learns a line, and has a parameter that plays no part."""

    def __init__(self):
        torch.manual_seed(0)
        self.line, self.idle = nn.Linear(2, 1), nn.Parameter(torch.ones(2))
        self.parameters = [*self.line.parameters(), self.idle]
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.1, fused=True)
        self.gradients = WithGradients(self.loss, self.parameters)

    def loss(self, x):
        error = self.line(x).square()
        return error.mean(), error.detach().max()

    def follow(self, x):
        loss, worst, gradients = self.gradients(x)
        assert not loss.requires_grad
        assert worst >= loss
        assert gradients[-1] is None
        follow(self.optimizer, gradients)


def test_it_is_what_backward_does():
    one, other = Learner(), Learner()
    for seed in range(3):
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
        one.follow(x)
        descend(other.optimizer, other.loss(x)[0])
    assert all(map(torch.equal, one.parameters, other.parameters))
    assert torch.equal(one.idle.detach(), torch.ones(2))


def test_a_copy_learns_with_its_own_parameters():
    first = Learner()
    second = copy.deepcopy(first)
    second.follow(torch.ones(5, 2))
    assert torch.equal(first.line.weight, Learner().line.weight)
    assert not torch.equal(second.line.weight, first.line.weight)
