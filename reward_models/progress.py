"""Progress as the reward: how many steps a demonstrator would still need.

Demonstrations say it by themselves: the observation k steps before the end of one is k steps from the goal. That is the
temporal distance which VIP (arXiv:2210.00030) learns from videos, and which Rank2Reward (arXiv:2404.14735) learns the
order of; for one task a regression does. Where nothing was demonstrated a regression says anything, and a policy finds
where it says too much. Rank2Reward meets that with a discriminator; here several networks judge, and the most
pessimistic one counts.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from agent.encoders import EncoderConfig, ImageEncoder, random_shift
from agent.gradients import descend
from agent.networks import VectorEncoder
from agent.storage import sync
from agent.tensors import above, below, detached
from agent.transition import TransitionSpec
from controllers.config import InputError
from reward_models.demonstrated import (
    Array,
    DemonstratedConfig,
    DemonstratedReward,
    Observations,
    read_config,
)
from reward_models.judged import STATE, judged_cameras, judged_spec, state_entries
from robot_env.env import RobotEnv

_BATCH = 256
# Goes into the names of cached files: raise it when something else is learned from the same.
_VERSION = 1


class ProgressConfig(DemonstratedConfig):
    """How progress is learned.

    Attributes:
        state: Parts of the `state` vector that are judged, such as `goal_from_ee`; all if null, none if empty. What
            progress does not depend on should be left out: a demonstrator is seldom at rest, and a policy may be.
        cameras: Names of those whose images are judged; all of the task if null, none if empty.
        members: Networks. Each learns from all demonstrations but its share, on which it is tested; the least counts.
        updates: Of each.
        batch_size: Observations of an update.
        learning_rate: Adam.
        hidden_sizes: Of each network.
        shift_pixels: Greatest random shift of an image that is learned from.
        encoder: Of camera images.
        seed: Of initial weights and of what is drawn. The same demonstrations and seed give the same reward.
        cache: Folder where what was learned is kept and looked up: every process of a run needs it, and an actor that
            starts again must not keep its robot waiting. Null keeps nothing.
    """

    state: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None
    members: int = 4
    updates: int = 500
    batch_size: int = 64
    learning_rate: float = 1e-3
    hidden_sizes: tuple[int, ...] = (64, 64)
    shift_pixels: int = 4
    encoder: EncoderConfig = EncoderConfig()
    seed: int = 0
    cache: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if self.members < 2 or min(self.updates, self.batch_size, *self.hidden_sizes, 1) < 1:
            raise ValueError(
                f"members {self.members} must be at least 2, and updates {self.updates}, batch_size {self.batch_size} "
                f"and hidden_sizes {self.hidden_sizes} positive"
            )
        if not 0.0 < self.learning_rate <= 1.0 or not 0 <= self.shift_pixels <= 100:
            raise ValueError(
                f"learning_rate {self.learning_rate} must lie in (0, 1], and shift_pixels {self.shift_pixels} between "
                "0 and 100"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed {self.seed} must lie between 0 and 2147483647")
        if self.encoder.cache:
            raise ValueError("encoder.cache is the replay's: a reward is shown images")


class _Member(nn.Module):
    """One opinion: steps to the goal, negative, as a share of the longest demonstration."""

    def __init__(self, config: ProgressConfig, spec: TransitionSpec) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config.encoder, spec) if spec.image_keys else VectorEncoder(spec)
        sizes = [self.encoder.size, *config.hidden_sizes]
        layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.LayerNorm(o), nn.ReLU())]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Shape (B,)."""
        nearness: Tensor = self.head(self.encoder(observation)).squeeze(-1)
        return nearness

    def learned_state(self) -> dict[str, Tensor]:
        """Without frozen backbones, which are read from where they come from."""
        return above("encoder.", self.encoder.learned_state()) | above("head.", self.head.state_dict())

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `learned_state` gave."""
        self.encoder.load_learned_state(below("encoder.", state))
        self.head.load_state_dict(below("head.", state))


class ProgressJudge:
    """Satisfies `reward_models.demonstrated.Judge`; its unit is the length of the longest demonstration.

    Args:
        config: How it learns.
        spec: Layout of observations.
        state_names: Names of the entries of the `state` vector, as `RobotEnv.state_names`.

    Raises:
        InputError: The task has no such camera or part of the state.
    """

    def __init__(self, config: ProgressConfig, spec: TransitionSpec, state_names: Sequence[str]) -> None:
        self._config = config
        self._entries = state_entries(config.state, state_names, "reward.config.state")
        cameras = judged_cameras(config.cameras, spec)
        self.spec = judged_spec(spec, len(self._entries), cameras, "reward.config.state")
        self._members: list[_Member] = []

    def learn(self, episodes: Sequence[Observations]) -> list[Array]:
        """Each member learns from all episodes but its share, and judges that."""
        horizon = max(len(observations[STATE]) for observations in episodes) - 1
        seen = [self._judged(observations) for observations in episodes]
        wanted = [torch.arange(1.0 - len(o[STATE]), 1.0) / max(1, horizon) for o in episodes]
        members = min(self._config.members, len(episodes))
        place = self._place(seen)
        if place is None or not self._restore(place, members):
            shares = [range(number, len(episodes), members) for number in range(members)]
            self._members = [
                self._fit(*_joined(seen, wanted, leave_out=share), self._config.seed + number)
                for number, share in enumerate(shares)
            ]
            if place is not None:
                self._keep(place)
        return [_judge(self._members[k % members], observations) for k, observations in enumerate(seen)]

    def nearness(self, observations: Observations) -> Array:
        """The most pessimistic opinion."""
        seen = self._judged(observations)
        opinions: Array = np.min([_judge(member, seen) for member in self._members], axis=0)
        return opinions

    def _judged(self, observations: Observations) -> dict[str, Tensor]:
        """The part of N observations that is looked at."""
        seen = {key: torch.from_numpy(np.asarray(observations[key])) for key in self.spec.observation_keys}
        return {key: v[:, self._entries].float() if key == STATE else v for key, v in seen.items()}

    def _place(self, seen: Sequence[Mapping[str, Tensor]]) -> Path | None:
        """The file in the cache that belongs to this configuration and these demonstrations."""
        if self._config.cache is None:
            return None
        chosen = {**msgspec.to_builtins(self._config), "cache": None, "version": _VERSION}
        digest = hashlib.sha256(msgspec.json.encode(chosen, order="sorted"))
        for observations in seen:
            for key, values in sorted(observations.items()):
                digest.update(f"{key} {tuple(values.shape)}".encode())
                digest.update(values.contiguous().numpy().tobytes())
        return Path(self._config.cache) / f"progress-{digest.hexdigest()[:32]}.safetensors"

    def _restore(self, place: Path, members: int) -> bool:
        """Whether everything could be read from the cache."""
        with torch.random.fork_rng(devices=[]):
            fresh = [_Member(self._config, self.spec).eval() for _ in range(members)]
        try:
            state = load_file(place)
            for number, member in enumerate(fresh):
                member.load_learned_state(below(f"{number}.", state))
        except (OSError, SafetensorError, RuntimeError):  # It is not there or damaged: learn again.
            return False
        self._members = fresh
        return True

    def _keep(self, place: Path) -> None:
        state: dict[str, Tensor] = {}
        for number, member in enumerate(self._members):
            state |= above(f"{number}.", member.learned_state())
        partial = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            save_file(detached(state), partial)
            sync(partial)
            partial.replace(place)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"reward.config.cache {place.parent} cannot be written ({error}): give another folder, or null."
            ) from None

    def _fit(self, seen: Mapping[str, Tensor], wanted: Tensor, seed: int) -> _Member:
        with torch.random.fork_rng(devices=[]):  # Initial weights come from the global generator.
            torch.manual_seed(seed)
            member = _Member(self._config, self.spec)
        generator = torch.Generator().manual_seed(seed)
        learning = [p for p in member.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learning, self._config.learning_rate)
        for _ in range(self._config.updates):
            rows = torch.randint(len(wanted), (self._config.batch_size,), generator=generator)
            batch = {key: values[rows] for key, values in seen.items()}
            if self._config.shift_pixels:
                pixels = self._config.shift_pixels
                batch |= {key: random_shift(batch[key], pixels, generator) for key in self.spec.image_keys}
            loss = F.mse_loss(member(batch), wanted[rows])
            descend(optimizer, loss)
        return member.eval()


def _joined(
    seen: Sequence[Mapping[str, Tensor]], wanted: Sequence[Tensor], leave_out: Sequence[int]
) -> tuple[dict[str, Tensor], Tensor]:
    """The observations and what is wanted of them, of all episodes but some."""
    kept = [k for k in range(len(seen)) if k not in leave_out]
    return {key: torch.cat([seen[k][key] for k in kept]) for key in seen[0]}, torch.cat(
        [wanted[k] for k in kept]
    )


@torch.no_grad()
def _judge(member: _Member, seen: Mapping[str, Tensor]) -> Array:
    rows = len(next(iter(seen.values())))
    parts = [
        member({key: values[begin : begin + _BATCH] for key, values in seen.items()})
        for begin in range(0, rows, _BATCH)
    ]
    return torch.cat(parts).double().numpy()


def make_progress_reward(env: RobotEnv, config: Mapping[str, Any]) -> DemonstratedReward:
    """Factory named by `reward=progress`.

    Raises:
        InputError: `config` is not a `ProgressConfig`, or does not fit the task.
    """
    chosen = read_config(config, ProgressConfig)
    spec = TransitionSpec.of(env.observation_space, env.action_space)
    return DemonstratedReward(ProgressJudge(chosen, spec, env.state_names), env.task.reward, chosen)
