"""LeRobot's SAC from images, for `bench/images.py --peer-python`: run by a Python that has LeRobot. No bench itself.

    PYTHON bench/images_lerobot.py CAMERAS SIZE BATCH

Answers each line on its input with one on its output. The line is how many updates to make of which kind, such as
`2 trained` or `2 frozen`; the answer is the CPU seconds that they took, sampling included. One update is what
LeRobot's learner does for an interaction at its defaults: critic, target, actor and temperature once each, with
gradients clipped; images are float32 in its replay and shifted when they are sampled. Nothing but this is printed.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.sac.configuration_sac import SACConfig
from lerobot.policies.sac.modeling_sac import SACPolicy
from lerobot.rl.buffer import ReplayBuffer

_ROWS, _STATE, _ACTIONS = 128, 7, 4


def make_policy(cameras: int, size: int, frozen: bool) -> Any:
    """LeRobot's policy with its default networks; torch.compile as by default."""
    seen = {
        f"observation.images.camera_{i}": PolicyFeature(FeatureType.VISUAL, (3, size, size))
        for i in range(cameras)
    }
    seen["observation.state"] = PolicyFeature(FeatureType.STATE, (_STATE,))
    done = {"action": PolicyFeature(FeatureType.ACTION, (_ACTIONS,))}
    return SACPolicy(
        SACConfig(input_features=seen, output_features=done, device="cpu", freeze_vision_encoder=frozen)
    )


def filled_replay(policy: Any) -> Any:
    """Its replay, as its learner makes it, with random transitions."""
    shapes = {name: feature.shape for name, feature in policy.config.input_features.items()}
    replay = ReplayBuffer(
        _ROWS, "cpu", list(shapes), use_drq=True, storage_device="cpu", optimize_memory=True
    )
    for _ in range(_ROWS):
        state, after = ({name: torch.rand(1, *shape) for name, shape in shapes.items()} for _ in range(2))
        replay.add(state, 2 * torch.rand(1, _ACTIONS) - 1, 0.0, after, False, False)
    return replay


def make_update(cameras: int, size: int, batch_size: int, frozen: bool) -> Callable[[], None]:
    """One update, sampling included."""
    policy = make_policy(cameras, size, frozen)
    replay = filled_replay(policy)
    parts = {
        "critic": [p for p in policy.critic_ensemble.parameters() if p.requires_grad],
        "actor": [p for n, p in policy.actor.named_parameters() if not n.startswith("encoder")],
        "temperature": [policy.log_alpha],
    }
    optimizers = {name: torch.optim.Adam(parameters, lr=3e-4) for name, parameters in parts.items()}

    def update() -> None:
        batch = dict(replay.sample(batch_size))
        batch |= {"observation_feature": None, "next_observation_feature": None}
        for name in ("critic", "actor", "temperature"):
            loss = policy.forward(batch, model=name)[f"loss_{name}"]
            optimizers[name].zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parts[name], policy.config.grad_clip_norm).item()
            optimizers[name].step()
        policy.update_target_networks()

    return update


def main() -> None:
    """Answer until the input ends."""
    cameras, size, batch_size = map(int, sys.argv[1:4])
    torch.set_num_threads(1)
    updates: dict[str, Callable[[], None]] = {}
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # Whatever a library prints there is no answer.
        for line in sys.stdin:
            count, kind = line.split()
            if kind not in updates:
                updates[kind] = make_update(cameras, size, batch_size, kind == "frozen")
            started_s = time.process_time()
            for _ in range(int(count)):
                updates[kind]()
            print(time.process_time() - started_s, file=answers, flush=True)


if __name__ == "__main__":
    main()
