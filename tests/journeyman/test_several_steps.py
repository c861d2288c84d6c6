"""Returns of n steps and chunks in the configuration of a run: who can learn from them, and what is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import journeyman.conf
from agent.algorithm import Plans
from agent.algorithm_config import load_algorithm, make_policy
from agent.config import InputError
from agent.reading import read_steps
from agent.record_log import RecordLog
from agent.sequences import ChunkReader, NStepReader
from agent.transition import describe_layout, differing_fields
from journeyman.checks import check
from journeyman.config import compose, read_config, write_config
from journeyman.several_steps import make_reader
from journeyman.wiring import make_env, make_sampler, make_spec, task_description

ALGORITHMS = sorted(
    path.stem for path in (Path(journeyman.conf.__file__).parent / "algorithm").glob("*.yaml")
)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_takes_both_or_says_why_not(name):
    """Whoever has a discount takes that of the batch; nobody else has targets."""
    config = compose([f"algorithm={name}"])
    algorithm, parameters = load_algorithm(config.algorithm)
    takes = getattr(algorithm, "takes_discount", False)
    assert hasattr(parameters, "discount") == (takes or name == "explore")
    assert make_reader(config) is read_steps
    chunked = msgspec.structs.replace(config, algorithm=msgspec.structs.replace(config.algorithm, chunk=4))
    several = msgspec.structs.replace(config, learner=msgspec.structs.replace(config.learner, n_steps=3))
    wanted = ((several, NStepReader, takes), (chunked, ChunkReader, takes or name in ("bc", "hg_dagger")))
    for asked, reader, possible in wanted:
        if possible:
            assert isinstance(make_reader(asked), reader)
        else:
            with pytest.raises(
                InputError, match=r"but the targets of agent\.(bc\.BC|explore\.ExPLORe) are not made"
            ):
                make_reader(asked)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["learner.n_steps=3", "algorithm.chunk=5"],
            r"n_steps is 3 and algorithm\.chunk 5: .* 5 steps already",
        ),
        (["learner.n_steps=3", "reward=dac"], "n_steps is 3, but reward=dac pays for single steps"),
        (["algorithm.chunk=5", "reward=vice"], "chunk is 5, but reward=vice pays for single steps"),
        (["algorithm=bc", "learner.n_steps=2"], "n_steps is 2, but the targets of agent.bc.BC"),
        (
            ["task=reach_goal", "learner.hindsight=4", "learner.n_steps=3"],
            "n_steps is 3 and learner.hindsight 4",
        ),
        (
            ["task=reach_goal", "learner.hindsight=4", "algorithm.chunk=3"],
            "chunk is 3 and learner.hindsight 4",
        ),
        (["learner.sampling.kind=prioritised", "algorithm.chunk=3"], "prioritised and algorithm.chunk 3"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_run_begins(overrides, words):
    with pytest.raises(InputError, match=words):
        check(compose(["task=reach", "demonstrations.episodes=20", *overrides]))


@pytest.mark.parametrize("override", ["learner.n_steps=0", "algorithm.chunk=0", "algorithm.chunk=-1"])
def test_less_than_one_is_refused(override):
    with pytest.raises(InputError, match="must be at least 1"):
        compose([override])


def test_learner_and_actor_must_agree_on_the_chunk():
    """Records are of single steps in either case, and n steps are the learner's own affair."""
    one, other = compose(["task=reach"]), compose(["task=reach", "algorithm.chunk=5"])
    assert differing_fields(task_description(one), task_description(other)) == [
        "algorithm.chunk: 1 here, 5 there"
    ]
    assert task_description(one) == task_description(compose(["task=reach", "learner.n_steps=5"]))


def test_a_run_of_before_there_were_chunks_goes_on(tmp_path):
    path = tmp_path / "config.yaml"
    config = compose(["task=reach"])
    write_config(config, path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "chunk:" not in line and "n_steps:" not in line))
    assert len(path.read_text()) < sum(map(len, lines))
    assert read_config(path) == config


@pytest.mark.parametrize(("override", "actions"), [("algorithm.chunk=3", 3), ("learner.n_steps=3", 1)])
def test_a_run_samples_what_it_asks_for_and_its_actors_act_step_by_step(tmp_path, override, actions):
    config = compose(["task=reach", override])
    env = make_env(config)
    spec = make_spec(env)
    (size,) = env.action_space.shape
    rows = np.zeros(12, spec.dtype)
    rows["step"], rows["terminated"][-1], rows["reward"] = np.arange(12), True, 1.0
    log = RecordLog.open(tmp_path / "replay.log", spec.dtype)
    log.append(rows)
    sampler = make_sampler(config, spec, rows, log, torch.device("cpu"), None)
    log.close()
    batch = sampler.sample(2, 64)
    assert batch["action"].shape == (128, actions * size)
    assert set(batch["reward"].tolist()) == {np.float32(sum(0.97**i for i in range(n))) for n in (1, 2, 3)}
    policy = make_policy(config.algorithm, spec, 0)
    assert isinstance(policy, Plans) == (actions > 1)
    observation = {"state": np.zeros(spec.dtype["observation.state"].shape, np.float32)}
    assert policy.act(observation, deterministic=True).shape == (size,)
    assert describe_layout(spec.dtype)["action"] == f"<f4[{size}]"
