"""Several processes learn what one learns, up to rounding; the same to the bit in all; and none without the others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.algorithm_config import AlgorithmConfig
from agent.config import InputError
from agent.parallel.ranks import Place, place
from agent.parallel.shared import refuse_to_split

CASES = ("rlpd", "sac", "drq", "iql", "bc")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What both processes of every run of `two_ranks.py` have to say."""
    folder = tmp_path_factory.mktemp("ranks")
    root = Path(__file__).parents[3]
    command = [sys.executable, str(Path(__file__).with_name("two_ranks.py")), str(folder)]
    subprocess.run(command, check=True, timeout=500, env={**os.environ, "PYTHONPATH": str(root)})
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns_from_the_whole_batches(outcomes, case):
    found = outcomes[f"{case}.0"]
    expected, metrics = found["metrics"]
    assert [*map(list, metrics)] == [*map(list, expected)]
    for mine, theirs in zip(metrics, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    names, theirs = found["names"]
    assert names == theirs
    assert found["apart"] < 1e-3 * found["moved"]


@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_to_the_bit(outcomes, case):
    assert outcomes[f"{case}.0"]["digest"] == outcomes[f"{case}.1"]["digest"]


def test_who_loses_another_process_ends_and_says_what_to_do(outcomes):
    assert "dies.1" not in outcomes
    assert "has ended or is stuck" in outcomes["dies.0"]["error"]
    assert "run=DIR" in outcomes["dies.0"]["error"]


def test_no_state_is_given_out_of_processes_that_differ(outcomes):
    for rank in range(2):
        assert "do not have the same networks" in outcomes[f"drifts.{rank}"]["error"]


@pytest.mark.parametrize(
    ("algorithm", "config", "said"),
    [
        ("agent.cql.CQL", {}, "nobody has said of it"),  # A subclass of one that may.
        ("agent.td3_bc.TD3BC", {}, "nobody has said of it"),
        ("agent.sac.SAC", {"compile": True}, "compile must be false"),
        ("agent.sac.SAC", {"critic_head": "gaussian"}, "choose mse"),
        ("agent.drq.DrQ", {"reward_unit": None}, "give a number"),
        ("agent.iql.IQL", {"normalise_observations": True}, "statistics of whole batches"),
        ("agent.sac.SAC", {"batch_size": 255}, "255 cannot be split into 2 equal parts"),
    ],
)
def test_what_would_learn_something_else_is_refused(algorithm, config, said):
    choice = AlgorithmConfig(name="mine", algorithm=algorithm, config=config)
    with pytest.raises(InputError, match=said):
        refuse_to_split(choice, 2)


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # Of something else.
    monkeypatch.setenv("RANK", "2")
    assert place() == Place(0, 1, 0)
