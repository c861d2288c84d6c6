"""Behaviour cloning: regression of demonstrated actions. The baseline for everything else.

HG-DAgger (Kelly et al., arXiv:1810.02890) is the same learner while the robot acts: a person takes over where the
policy goes wrong, what they did then joins the demonstrations, and cloning goes on. Which of the two a run is, its
environment steps decide: none, or some. Unlike there the policy is one network, not an ensemble that also estimates
where it is in doubt.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from agent.algorithm import Batch
from agent.config import Config
from agent.encoders import EncoderConfig, ImageEncoder, check_shift, make_encoder, shift_images
from agent.frames import Convert
from agent.gradients import descend
from agent.networks import GaussianActor
from agent.parallel.share import WHOLE, Share
from agent.sac import SACPolicy
from agent.tensors import Tensors, above, below, detached, load_optimizer_state, optimizer_state
from agent.transition import TransitionSpec, count_actions


class BCConfig(Config):
    """Parameters.

    Attributes:
        offline_updates: Gradient steps on the demonstrations before the policy is used.
        batch_size: Transitions per gradient step.
        utd_ratio: Gradient steps per environment step, where there are any (HG-DAgger).
        layer_norm: In the actor.
        hidden_sizes: Of the actor.
        learning_rate: Adam.
        spread: Standard deviation, before squashing, of the actions about their mean while nothing is evaluated.
        encoder: From image to features; unused without cameras.
        shift_pixels: Greatest random shift of an image, in each direction; 0 leaves images as they are.
    """

    offline_updates: int = 5000
    batch_size: int = 64
    utd_ratio: int = 1
    layer_norm: bool = True
    hidden_sizes: tuple[int, ...] = (256, 256)
    learning_rate: float = 3e-4
    spread: float = 0.05
    encoder: EncoderConfig = EncoderConfig()
    shift_pixels: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if min(self.offline_updates, self.batch_size, self.utd_ratio) < 1:
            raise ValueError(
                f"offline_updates {self.offline_updates}, batch_size {self.batch_size} and utd_ratio "
                f"{self.utd_ratio} must be at least 1"
            )
        if not 0 < self.learning_rate <= 1 or not 0 < self.spread <= 1:
            raise ValueError(
                f"learning_rate {self.learning_rate} and spread {self.spread} must lie in (0, 1]"
            )
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be positive")
        check_shift(self.shift_pixels, self.encoder)

    @property
    def needs_no_rewards(self) -> bool:
        """It imitates whatever was recorded."""
        return True


class BCPolicy(SACPolicy):
    """Encoder and Gaussian actor; satisfies `agent.algorithm.Policy`."""

    @staticmethod
    def make_encoder(config: Any, spec: TransitionSpec) -> Any:
        """From vectors, and images if there are any, to features."""
        return make_encoder(config.encoder, spec)


class BC:
    """The learner's side; satisfies `Algorithm`, `LearnsOffline` and `KeepsFeatures` of `agent.algorithm`."""

    Config = BCConfig
    demonstrations_only = True

    def __init__(self, config: BCConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        self.config = config
        self.batch_size, self.utd_ratio = config.batch_size, config.utd_ratio
        self.offline_updates = config.offline_updates
        self._keys, self._images = spec.observation_keys, spec.image_keys
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = make_encoder(config.encoder, spec).to(device)
            actor = (self.encoder.size, count_actions(spec), config.hidden_sizes, config.layer_norm)
            self.actor = GaussianActor(*actor).to(device)
        learning = [p for p in (*self.actor.parameters(), *self.encoder.parameters()) if p.requires_grad]
        self._optimizer = torch.optim.Adam(learning, config.learning_rate, fused=True)
        self._share = WHOLE
        # On the CPU, so that a checkpoint of one device goes on on another.
        self._generator = torch.Generator().manual_seed(seed + 1)
        self.kept_of_frames: Convert | None = None
        if isinstance(self.encoder, ImageEncoder) and config.encoder.cache:
            self.kept_of_frames = self.encoder.convert

    @staticmethod
    def make_policy(config: BCConfig, spec: TransitionSpec, seed: int) -> BCPolicy:
        """The actor's side."""
        return BCPolicy(config, spec, seed)

    @staticmethod
    def needs_whole_batches(config: BCConfig) -> str | None:
        """See `agent.algorithm.SplitsBatches`."""
        return None

    def learn_from(self, share: Share) -> None:
        """See `agent.algorithm.SplitsBatches`."""
        self._share, self.batch_size = share, share.rows

    def optimizers(self) -> Iterable[torch.optim.Optimizer]:
        """See `agent.algorithm.SplitsBatches`."""
        return (self._optimizer,)

    def update(self, batch: Batch) -> dict[str, float]:
        """`utd_ratio` gradient steps, each on its own slice of demonstrations and interventions."""
        metrics: dict[str, float] = {}
        for k in range(self.utd_ratio):
            rows = slice(k * self.batch_size, (k + 1) * self.batch_size)
            metrics = self.learn_offline({name: values[rows] for name, values in batch.items()})
        return metrics

    def learn_offline(self, batch: Batch) -> dict[str, float]:
        """One gradient step on what was demonstrated; rewards play no part."""
        observation = {key: batch[f"observation.{key}"] for key in self._keys}
        pixels = self.config.shift_pixels
        shifted = shift_images(observation, self._images, pixels, self._generator, self._share)
        features = self.encoder(shifted)
        loss = self.actor.imitation_loss(features, batch["action"], math.log(self.config.spread))
        descend(self._optimizer, loss)
        return {"imitation_loss": float(loss.detach())}

    def policy_weights(self) -> Tensors:
        """Encoder and actor network, without what is frozen, on the CPU."""
        return detached(
            above("actor.", self.actor.state_dict()) | above("encoder.", self.encoder.learned_state())
        )

    def state_dict(self) -> Tensors:
        """Networks, optimiser and random state, flat."""
        state = self.policy_weights() | above("optimizer.", optimizer_state(self._optimizer))
        return detached(state | {"generator": self._generator.get_state()})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on exactly where `state_dict` was taken."""
        self.actor.load_state_dict(below("actor.", state))
        self.encoder.load_learned_state(below("encoder.", state))
        load_optimizer_state(self._optimizer, below("optimizer.", state))
        self._generator.set_state(state["generator"])
