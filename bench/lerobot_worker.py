"""LeRobot's SAC, for `--peer-python` of bench/images.py and bench/learner.py: run by a Python that has LeRobot.

    PYTHON bench/lerobot_worker.py '{"state": 7, "cameras": 2, "size": 128, "rows": 128, "batch": 64, ...}'

No bench itself. The argument is a `Shape`. Answers each line on its input with one on its output. The line is how many
updates to make of which kind, such as `2 trained` or `2 frozen` (encoder); the answer is the CPU seconds that they
took, sampling included. One update is what LeRobot's learner does for an interaction: a critic update `utd_ratio`
times, each on a batch of its own and followed by the targets', then actor and temperature; gradients clipped; all else
at its defaults, but that the processor is used as ours is. Images are float32 in its replay and shifted when they are
sampled. Nothing but this is printed.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.sac.configuration_sac import SACConfig
from lerobot.policies.sac.modeling_sac import SACPolicy
from lerobot.rl.buffer import ReplayBuffer

from agent.processor import use_processor

_ACTIONS = 4
_SUBSET = 2  # Critics that a target is the least of, where there are more.


class Shape(NamedTuple):
    """What is learned from, and how."""

    state: int
    cameras: int
    size: int
    rows: int
    batch: int
    critics: int
    utd_ratio: int


def make_policy(shape: Shape, frozen: bool) -> Any:
    """LeRobot's policy with its default networks; torch.compile as by default."""
    seen = {
        f"observation.images.camera_{i}": PolicyFeature(FeatureType.VISUAL, (3, shape.size, shape.size))
        for i in range(shape.cameras)
    }
    seen["observation.state"] = PolicyFeature(FeatureType.STATE, (shape.state,))
    done = {"action": PolicyFeature(FeatureType.ACTION, (_ACTIONS,))}
    return SACPolicy(
        SACConfig(
            input_features=seen,
            output_features=done,
            device="cpu",
            freeze_vision_encoder=frozen,
            num_critics=shape.critics,
            num_subsample_critics=_SUBSET if shape.critics > _SUBSET else None,
        )
    )


def filled_replay(policy: Any, shape: Shape) -> Any:
    """Its replay, as its learner makes it, with random transitions."""
    shapes = {name: feature.shape for name, feature in policy.config.input_features.items()}
    replay = ReplayBuffer(
        shape.rows, "cpu", list(shapes), use_drq=shape.cameras > 0, storage_device="cpu", optimize_memory=True
    )
    for _ in range(shape.rows):
        state, after = ({name: torch.rand(1, *size) for name, size in shapes.items()} for _ in range(2))
        replay.add(state, 2 * torch.rand(1, _ACTIONS) - 1, 0.0, after, False, False)
    return replay


def make_update(shape: Shape, frozen: bool) -> Callable[[], None]:
    """One update, sampling included."""
    policy = make_policy(shape, frozen)
    replay = filled_replay(policy, shape)
    parts = {
        "critic": [p for p in policy.critic_ensemble.parameters() if p.requires_grad],
        "actor": [p for n, p in policy.actor.named_parameters() if not n.startswith("encoder")],
        "temperature": [policy.log_alpha],
    }
    optimizers = {name: torch.optim.Adam(parameters, lr=3e-4) for name, parameters in parts.items()}

    def step(name: str, batch: dict[str, Any]) -> None:
        loss = policy.forward(batch, model=name)[f"loss_{name}"]
        optimizers[name].zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts[name], policy.config.grad_clip_norm).item()
        optimizers[name].step()

    def update() -> None:
        for critic_step in range(shape.utd_ratio):
            batch = dict(replay.sample(shape.batch))
            batch |= {"observation_feature": None, "next_observation_feature": None}
            step("critic", batch)
            if critic_step == shape.utd_ratio - 1:
                step("actor", batch)
                step("temperature", batch)
            policy.update_target_networks()

    return update


def main() -> None:
    """Answer until the input ends."""
    shape = Shape(**json.loads(sys.argv[1]))
    use_processor(threads=1)
    updates: dict[str, Callable[[], None]] = {}
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # Whatever a library prints there is no answer.
        for line in sys.stdin:
            count, kind = line.split()
            if kind not in updates:
                updates[kind] = make_update(shape, kind == "frozen")
            started_s = time.process_time()
            for _ in range(int(count)):
                updates[kind]()
            print(time.process_time() - started_s, file=answers, flush=True)


if __name__ == "__main__":
    main()
