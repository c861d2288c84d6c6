"""Shared pieces of the learning tests."""

import errno
import os
import subprocess
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch

from agent.replay import MixedSampler, ReplayBuffer
from agent.transition import TransitionSpec

MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture
def spec():
    return TransitionSpec.of(
        gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)}),
        gymnasium.spaces.Box(-1, 1, (2,), np.float32),
    )


@pytest.fixture(scope="session")
def camera_spec():
    return TransitionSpec.of(
        gymnasium.spaces.Dict(
            {
                "state": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32),
                "front": gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8),
                "wrist": gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8),
            }
        ),
        gymnasium.spaces.Box(-1, 1, (2,), np.float32),
    )


@pytest.fixture(scope="session")
def camera_step(camera_spec):
    """A transition every pixel of which names its origin; the actor's number is its reward and the wrist's image."""

    def paint(row, prefix, actor, episode, step):
        row[f"{prefix}.state"] = episode, step
        row[f"{prefix}.front"] = episode % 250, step, 7
        row[f"{prefix}.wrist"] = actor

    def make(actor, episode, step, **values):
        row = np.zeros(1, camera_spec.dtype)
        paint(row, "observation", actor, episode, step)
        paint(row, "next_observation", actor, episode, step + 1)
        row["episode"], row["step"], row["reward"] = episode, step, actor
        for key, value in values.items():
            row[key] = value
        return row

    return make


@pytest.fixture(scope="session")
def assert_whole():
    """That no transition of a batch mixes what belongs to different actors, episodes or steps."""

    def check(batch):
        for prefix in ("observation", "next_observation"):
            episode, step = batch[f"{prefix}.state"].T
            origin = torch.stack([episode % 250, step, torch.full_like(step, 7)], -1)
            front, wrist = batch[f"{prefix}.front"].float(), batch[f"{prefix}.wrist"].float()
            assert torch.equal(front, origin[:, None, None].expand_as(front))
            assert torch.equal(wrist, batch["reward"][:, None, None, None].expand_as(wrist))
        moved = batch["next_observation.state"] - batch["observation.state"]
        assert torch.equal(moved, torch.tensor([0.0, 1.0]).expand_as(moved))

    return check


@pytest.fixture
def make_records(spec):
    """Random transitions; `episode` and `step` say where each belongs."""

    def make(count, seed=0, **values):
        rng = np.random.default_rng(seed)
        rows = np.zeros(count, spec.dtype)
        for key in ("observation.state", "next_observation.state"):
            rows[key] = rng.normal(size=(count, 5))
        rows["action"] = rng.uniform(-1, 1, (count, 2))
        rows["reward"] = rng.normal(size=count)
        for key, value in values.items():
            rows[key] = value
        return rows

    return make


@pytest.fixture
def make_batch(spec, make_records):
    """A batch as the learner's sampler makes it."""

    def make(rows, seed=0, **values):
        buffer = ReplayBuffer(spec, 256, seed)
        buffer.append(make_records(256, seed, **values))
        sampler = MixedSampler(spec, buffer, ReplayBuffer(spec, 1, 0), 0.5, torch.device("cpu"))
        return sampler.sample(1, rows)

    return make


class FaultyDisk:
    """Lets one of the calls fail by which programs change what is on disk.

    Attributes:
        calls: How many of them were made while it was watched.
    """

    _NAMES = (
        "open", "write", "writev", "pwrite", "ftruncate", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir",
    )  # fmt: skip

    def __init__(self):
        self.calls = 0
        self._real = {name: getattr(os, name) for name in self._NAMES}

    @contextmanager
    def failing(self, at, error=None, lasting=False):
        """Call number `at` raises `error`, or all from it on; `ENOSPC` by default. What is written comes half before.

        Args:
            at: From 0 on.
            error: To raise.
            lasting: Whether the disk stays as it is then; a process that is dead stays dead.
        """
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if error is None else error
        self.calls = 0
        with pytest.MonkeyPatch.context() as patch:
            for name in self._NAMES:
                patch.setattr(os, name, self._call(name, at, error, lasting))
            yield

    def _call(self, name, at, error, lasting):
        real = self._real[name]

        def call(*arguments, **options):
            if name == "open" and not (len(arguments) > 1 and arguments[1] & (os.O_WRONLY | os.O_RDWR)):
                return real(*arguments, **options)
            number = self.calls
            self.calls += 1
            if number < at or (number > at and not lasting):
                return None if name == "fsync" else real(*arguments, **options)  # Nobody cuts the power.
            if number == at and name in ("write", "writev"):
                descriptor, content = arguments
                whole = content if name == "write" else b"".join(content)
                self._real["write"](descriptor, whole[: len(whole) // 2])
            raise error

        return call


@pytest.fixture(scope="session")
def faulty_disk():
    return FaultyDisk()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk, and not everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def fill():
    """Leave no room on a disk; gives the file that takes it."""

    def make(folder):
        path = folder / "filler"
        with path.open("wb", buffering=0) as file:
            for size in (4096, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break
        return path

    return make


class _Classifier(torch.nn.Module):
    """A small network with BatchNorm, laid out as torchvision's are and answering as timm's do."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.act = torch.nn.ReLU()
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.fc = torch.nn.Linear(8, classes) if classes else torch.nn.Identity()
        self.pretrained_cfg = {"mean": MEAN, "std": DEVIATION, "classifier": "fc"}

    def forward_intermediates(self, image, indices, intermediates_only):
        assert (indices, intermediates_only) == (1, True)
        return [self.act(self.norm(self.conv(image)))]


class Vision:
    """What this package calls of timm and torchvision, over one small network; the real ones are large and optional.

    Attributes:
        state: The weights that are downloaded.
        downloads: How often they were.
        problem: Raised instead, where it is set.
    """

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            network = _Classifier()
            network.norm.running_mean.normal_()
            network.norm.running_var.uniform_(0.5, 2.0)
        self.state = network.state_dict()
        self.downloads = 0
        self.problem: Exception | None = None
        self.timm = ModuleType("timm")
        self.timm.list_models = lambda pretrained=False: ["small.v1"] if pretrained else ["small", "tokens"]
        self.timm.create_model = self._create_model
        self.torchvision = ModuleType("torchvision")
        self.torchvision.models = ModuleType("torchvision.models")
        self.torchvision.models.list_models = lambda module: ["small"]
        self.torchvision.models.get_model = lambda name, weights: _Classifier()
        normalisation = SimpleNamespace(mean=MEAN, std=DEVIATION)
        weights = SimpleNamespace(transforms=lambda: normalisation, get_state_dict=self._get_state_dict)
        self.torchvision.models.get_model_weights = lambda name: SimpleNamespace(DEFAULT=weights)

    def _download(self) -> None:
        self.downloads += 1
        if self.problem is not None:
            raise self.problem

    def _create_model(self, name, pretrained=False, num_classes=10):
        if name == "tokens":
            network = torch.nn.Linear(3, 3)
            network.pretrained_cfg = {}
            return network
        network = _Classifier(num_classes)
        if pretrained:
            self._download()
            kept = network.state_dict()
            network.load_state_dict({key: self.state[key] for key in kept})
        return network

    def _get_state_dict(self, progress, check_hash, weights_only):
        assert (progress, check_hash, weights_only) == (False, True, True)
        self._download()
        return self.state


@pytest.fixture
def vision(monkeypatch):
    """Stands for timm and torchvision; its networks are `timm/small.v1` and `torchvision/small`."""
    fake = Vision()
    for name in ("timm", "torchvision"):
        monkeypatch.setitem(sys.modules, name, getattr(fake, name))
    return fake
