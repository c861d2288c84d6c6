"""The worked examples in docs/ are run, so that they stay true."""

import re
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
import pytest
import torch
import yaml

from agent.algorithm import AlgorithmConfig, load_algorithm, make_policy
from agent.transition import TransitionSpec

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files_in(page: str) -> dict[str, str]:
    """Code blocks that begin with the path they belong to."""
    return dict(BLOCK.findall((ROOT / "docs" / page).read_text()))


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
)
def test_links_point_at_something(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.fixture
def cloning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlgorithmConfig:
    files = files_in("add_an_algorithm.md")
    (tmp_path / "cloning.py").write_text(files["agent/cloning.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    choice = yaml.safe_load(files["journeyman/conf/algorithm/cloning.yaml"])
    assert choice["algorithm"] == "agent.cloning.Cloning"
    return msgspec.convert({**choice, "algorithm": "cloning.Cloning"}, AlgorithmConfig)


def test_the_algorithm_of_the_example_learns_and_resumes(cloning: AlgorithmConfig) -> None:
    spaces = gymnasium.spaces.Box(-9, 9, (3,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    spec = TransitionSpec.of(*spaces)
    make, config = load_algorithm(cloning)
    states = torch.randn(config.batch_size, 3, generator=torch.Generator().manual_seed(0))
    batch = {"observation.state": states, "action": states[:, :2].tanh()}
    learner, resumed = (make(config, spec, torch.device("cpu"), seed) for seed in (1, 2))
    losses = [learner.update(batch)["cloning_loss"] for _ in range(100)]
    assert losses[-1] < 0.1 * losses[0]

    resumed.load_state_dict(learner.state_dict())
    learner.update(batch)
    resumed.update(batch)
    for name, value in learner.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name

    policy = make_policy(cloning, spec, seed=3)
    policy.load_weights(learner.policy_weights())
    action = policy.act({"state": np.array([0.5, -0.5, 0.0], np.float32)}, deterministic=True)
    assert action == pytest.approx(np.tanh([0.5, -0.5]), abs=0.2)
