"""Chunks: several actions that are decided on at once and executed one after the other, without looking in between.

ACT, Zhao et al., arXiv:2304.13705; in reinforcement learning Q-chunking, Li et al., arXiv:2507.07969. An algorithm
knows nothing of them: its layout has one long action, a reader (`agent.sequences.ChunkReader`) makes its batches, and a
policy around its own plays out what that decides.
"""

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from agent.algorithm import Policy
from agent.transition import Observation, TransitionSpec


def chunk_spec(spec: TransitionSpec, chunk: int) -> TransitionSpec:
    """The layout as an algorithm sees it: as many actions as are in a chunk are one, shape (chunk * A,)."""
    if chunk == 1:
        return spec
    low, high = (np.tile(bound.ravel(), chunk) for bound in (spec.action_space.low, spec.action_space.high))
    return TransitionSpec.of(spec.observation_space, gymnasium.spaces.Box(low, high, dtype=np.float32))


class ChunkedPolicy:
    """Asks a policy for a chunk of actions, and gives them out one after the other; satisfies `Policy` and `Plans`.

    New weights count from the next chunk on.

    Args:
        policy: Its actions are of shape (chunk * A,).
        spec: Layout of the actions that are given out.
    """

    def __init__(self, policy: Policy, spec: TransitionSpec) -> None:
        self._policy = policy
        self._shape = spec.action_space.shape
        self._plan: list[NDArray[np.float32]] = []

    def act(self, observation: Observation, deterministic: bool) -> NDArray[np.float32]:
        """The next action of the chunk, shape (A,); a new chunk for this observation where none is left."""
        if not self._plan:
            self._plan = list(self._policy.act(observation, deterministic).reshape(-1, *self._shape))
        return self._plan.pop(0)

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over what `Algorithm.policy_weights` gave."""
        self._policy.load_weights(weights)

    def replan(self) -> None:
        """Drop what is left of the chunk."""
        self._plan.clear()
