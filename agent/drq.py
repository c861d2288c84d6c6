"""DrQ: soft actor-critic from camera images.

Kostrikov et al., arXiv:2004.13649: images are shifted at random before they are learned from. As in its second version
(arXiv:2107.09645) an encoder shared by actor and critics is trained by the critics' loss alone, and encodes the next
observation as well. With SAC's options this is the learner of SERL (arXiv:2401.16013).
"""

from typing import Any

import torch

from agent.algorithm import Batch
from agent.encoders import EncoderConfig, ImageEncoder, check_shift, shift_images
from agent.frames import Convert
from agent.sac import SAC, SACPolicy
from agent.sac_config import SACConfig
from agent.tensors import Tensors
from agent.transition import TransitionSpec


class DrQConfig(SACConfig):
    """SAC's options, and those of images.

    Attributes:
        batch_size: Smaller than of vectors: more updates beat larger batches.
        utd_ratio: As in SACConfig.
        encoder: From image to features.
        shift_pixels: Greatest random shift of an image, in each direction; 0 leaves images as they are.
    """

    batch_size: int = 64
    utd_ratio: int = 2
    encoder: EncoderConfig = EncoderConfig()
    shift_pixels: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        check_shift(self.shift_pixels, self.encoder)


class DrQPolicy(SACPolicy):
    """Encoder and actor network; satisfies `agent.algorithm.Policy`."""

    @staticmethod
    def make_encoder(config: Any, spec: TransitionSpec) -> Any:
        """From images and vectors to features."""
        return ImageEncoder(config.encoder, spec)


class DrQ(SAC):
    """The learner's side; satisfies `agent.algorithm.Algorithm` and `KeepsFeatures`."""

    Config = DrQConfig
    Policy = DrQPolicy

    def __init__(self, config: DrQConfig, spec: TransitionSpec, device: torch.device, seed: int) -> None:
        super().__init__(config, spec, device, seed)
        self._shift_pixels = config.shift_pixels
        self._images = spec.image_keys
        self.kept_of_frames: Convert | None = self.encoder.convert if config.encoder.cache else None

    @staticmethod
    def needs_whole_batches(config: SACConfig) -> str | None:
        """See `agent.algorithm.SplitsBatches`."""
        return SAC.needs_whole_batches(config)

    def _observation(self, batch: Batch, prefix: str) -> Tensors:
        """Each image of a batch is shifted, and seen by a frozen backbone, once for all updates that use it."""
        observation = super()._observation(batch, prefix)
        shifted = shift_images(observation, self._images, self._shift_pixels, self._generator, self._share)
        return self.encoder.with_frozen_maps(shifted, self.batch_size)
