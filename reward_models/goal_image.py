"""Likeness to images of the goal as the reward: the distance between what a network that stays as it is makes of both.

With an embedding learned for it, that distance is a value function (VIP, arXiv:2210.00030; LIV, arXiv:2306.00958). A
network pretrained for something else, or the success classifier of the task, gives one as well, and where it does not
tell the goal from the rest, the demonstrations show that before a run begins.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.encoders import CameraEncoder, EncoderConfig
from agent.transition import TransitionSpec
from controllers.config import InputError
from reward_models.demonstrated import (
    Array,
    DemonstratedConfig,
    DemonstratedReward,
    Observations,
    read_config,
)
from reward_models.judged import STATE, judged_cameras, judged_spec
from reward_models.success_classifier.classifier import SuccessClassifier, load_classifier
from robot_env.env import RobotEnv

_BATCH = 128


class GoalImageConfig(DemonstratedConfig):
    """What the goal looks like, and to whom.

    Attributes:
        encoder: A frozen backbone whose feature maps are compared, such as `{kind: timm/resnet18.a1_in1k}`.
        model: Instead of that: file of a success classifier, whose features are compared.
        cameras: Names of those that `encoder` looks through; all of the task if null. A classifier has its own.
        goals: Folder with images of the goal, `CAMERA/*.png`, which belong together in the order of their names; null
            takes the last images of the successful demonstrations.
    """

    encoder: EncoderConfig | None = None
    model: str | None = None
    cameras: tuple[str, ...] | None = None
    goals: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if (self.encoder is None) == (self.model is None):
            raise ValueError(
                "either encoder, a frozen backbone such as {kind: timm/resnet18.a1_in1k}, or model, the file of a "
                "success classifier, must be given, and not both"
            )
        if self.encoder is not None and self.encoder.cache:
            raise ValueError("encoder.cache is the replay's: a reward is shown images")
        if self.encoder is not None and not self.encoder.is_frozen:
            raise ValueError(
                f"encoder.kind {self.encoder.kind} must be pretrained and frozen: nothing trains it here"
            )
        if self.model is not None and self.cameras is not None:
            raise ValueError(f"cameras {list(self.cameras)} go with encoder: a classifier has its own")


class Embedding(Protocol):
    """From images to points, near each other where the images look alike."""

    spec: TransitionSpec
    """Names and sizes of the images that are looked at."""
    needs_state: bool
    """Whether the `state` vector is looked at besides."""

    def __call__(self, observations: Observations) -> Tensor:
        """Of N observations, shape (N, D)."""
        ...


class BackboneEmbedding:
    """Feature maps of a frozen backbone, place by place; every camera has the same say.

    Args:
        config: Which backbone.
        spec: Layout of observations.
        cameras: Whose images.

    Raises:
        InputError: There is no camera, or the backbone cannot be had.
    """

    def __init__(self, config: EncoderConfig, spec: TransitionSpec, cameras: Sequence[str]) -> None:
        self.spec = judged_spec(spec, 0, cameras, "reward.config.cameras")
        self.needs_state = False
        self._encoders = {
            name: CameraEncoder(config, *self.spec.dtype[f"observation.{name}"].shape[:2]) for name in cameras
        }

    def __call__(self, observations: Observations) -> Tensor:
        """Of N observations, shape (N, D); each camera's part has length 1."""
        maps = [
            encoder.maps(torch.from_numpy(np.asarray(observations[name]))).float().flatten(1)
            for name, encoder in self._encoders.items()
        ]
        return torch.cat([torch.nn.functional.normalize(one, dim=1) for one in maps], dim=1)


class ClassifierEmbedding:
    """Features before the verdict of a success classifier.

    Args:
        classifier: Whose.
        spec: Layout of observations.
        state_names: Names of the entries of the `state` vector.

    Raises:
        InputError: It was fitted for other cameras or another state.
    """

    def __init__(
        self, classifier: SuccessClassifier, spec: TransitionSpec, state_names: tuple[str, ...]
    ) -> None:
        preprocessing = classifier.card.preprocessing
        shapes = {name: spec.observation_space[name].shape or () for name in spec.image_keys}
        preprocessing.check_source(shapes, state_names, "the task")
        self.spec = judged_spec(spec, 0, sorted(preprocessing.cameras), "the classifier's cameras")
        self.needs_state = bool(preprocessing.state_names)
        self._classifier = classifier
        self._state_names = state_names

    def __call__(self, observations: Observations) -> Tensor:
        """Of N observations, shape (N, D)."""
        preprocessing = self._classifier.card.preprocessing
        # Images of goals come without a state, and a classifier that wants none does not look at it.
        rows = len(next(iter(observations.values())))
        state = observations.get(STATE, np.zeros((rows, len(self._state_names)), np.float32))
        inputs = preprocessing.prepare({**observations, STATE: state}, self._state_names)
        images = preprocessing.normalise(torch.from_numpy(inputs.images).float())
        features: Tensor = self._classifier.network(images, torch.from_numpy(inputs.state))[1]
        return features


class GoalImageJudge:
    """Satisfies `reward_models.demonstrated.Judge`: the negative distance to the nearest goal.

    Args:
        embedding: Where distances are measured.
        goals: Images of goals by camera, each (G, H, W, 3); None takes the ends of the demonstrations.
    """

    def __init__(self, embedding: Embedding, goals: Observations | None = None) -> None:
        self.spec = embedding.spec
        self._embedding = embedding
        self._goals = None if goals is None else self._embed(goals)
        self._given = goals is not None

    def learn(self, episodes: Sequence[Observations]) -> list[Array]:
        """Take over the goals; an episode's own end is none for itself, or it would be at distance 0."""
        points = [self._embed(observations) for observations in episodes]
        if self._given:
            return [self._nearness(own, self._goals) for own in points]
        ends = torch.stack([own[-1] for own in points])
        self._goals = ends
        others = [torch.cat([ends[:number], ends[number + 1 :]]) for number in range(len(ends))]
        return [self._nearness(own, other) for own, other in zip(points, others, strict=True)]

    def nearness(self, observations: Observations) -> Array:
        """Of N observations, shape (N,)."""
        return self._nearness(self._embed(observations), self._goals)

    @torch.no_grad()
    def _embed(self, observations: Observations) -> Tensor:
        rows = len(next(iter(observations.values())))
        parts = (
            {key: values[begin : begin + _BATCH] for key, values in observations.items()}
            for begin in range(0, rows, _BATCH)
        )
        return torch.cat([self._embedding(part) for part in parts])

    @staticmethod
    def _nearness(points: Tensor, goals: Tensor | None) -> Array:
        assert goals is not None  # `DemonstratedReward` lets nobody ask before `learn`.
        nearest: Array = -torch.cdist(points, goals).amin(dim=1).double().numpy()
        return nearest


def read_goals(folder: Path, spec: TransitionSpec) -> dict[str, NDArray[np.uint8]]:
    """Images of goals by camera, each of shape (G, H, W, 3).

    Raises:
        InputError: A camera has none, or another number than the others, or one is of another size than the camera's.
    """
    goals = {}
    for name in spec.image_keys:
        paths = sorted((folder / name).glob("*.png"))
        images = [_read_image(path, spec.observation_space[name].shape or ()) for path in paths]
        if not images:
            raise InputError(
                f"reward.config.goals {folder} has no images {name}/*.png of camera {name!r}: put some there."
            )
        goals[name] = np.stack(images)
    counts = {name: len(images) for name, images in goals.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"reward.config.goals {folder} has unequal numbers of images {counts}: they belong together."
        )
    return goals


def _read_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None or image.shape != shape:
        found = "no image" if image is None else f"of shape {list(image.shape)}"
        raise InputError(
            f"Goal {path} is {found}, but the camera's images have {list(shape)}: record it with that camera."
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)


def make_goal_image_reward(env: RobotEnv, config: Mapping[str, Any]) -> DemonstratedReward:
    """Factory named by `reward=goal_image`.

    Raises:
        InputError: `config` is not a `GoalImageConfig`, or does not fit the task.
    """
    chosen = read_config(config, GoalImageConfig)
    spec = TransitionSpec.of(env.observation_space, env.action_space)
    embedding: Embedding
    if chosen.encoder is not None:
        embedding = BackboneEmbedding(chosen.encoder, spec, judged_cameras(chosen.cameras, spec))
    else:
        embedding = ClassifierEmbedding(load_classifier(Path(str(chosen.model))), spec, env.state_names)
    if chosen.goals is not None and embedding.needs_state:
        raise InputError(
            f"Classifier {chosen.model} also looks at the state, which images of goals do not show: leave out "
            "reward.config.goals, or fit one without state."
        )
    goals = None if chosen.goals is None else read_goals(Path(chosen.goals), embedding.spec)
    return DemonstratedReward(GoalImageJudge(embedding, goals), env.task.reward, chosen)
