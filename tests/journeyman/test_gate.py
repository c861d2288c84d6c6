"""`journeyman gate`: a new policy passes or is held back, and why is said."""

import numpy as np
import pytest

from agent.config import InputError
from agent.off_policy_evaluation import Difference
from agent.record_log import RecordLog
from journeyman.cli import main
from journeyman.config import compose
from journeyman.gate import GateOptions, Verdict, judge, verdict_of
from journeyman.learner import open_or_create
from journeyman.wiring import make_env, make_learners, make_spec

QUICK = ["value_updates=3", "dynamics={updates: 20, hidden_sizes: [8]}", "steps=2", "starts_per_member=2"]
CHOSEN = GateOptions(run="new", against="old")


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """A run with a checkpoint of a policy that has not learned, and 300 transitions in which nothing moves."""
    monkeypatch.chdir(tmp_path)

    def make(*overrides):
        words = ["algorithm.config.hidden_sizes=[16,16]", "demonstrations.episodes=0", *overrides]
        config, directory = open_or_create(words)
        env = make_env(config)
        log = RecordLog.open(directory.replay_log, make_spec(env).dtype)
        log.append(np.zeros(300, log.dtype))
        log.close()
        env.close()
        learner, (server,) = make_learners(config, directory, f"ipc://{tmp_path}/learner")
        learner._safe.save()
        server.close()
        server._record_log.close()  # As the end of the process does.
        learner.close()
        return directory.path

    return make


@pytest.fixture
def gate(capsys):
    def call(*words):
        code = main(["gate", *words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out.strip(), said.err.strip()

    return call


def test_a_policy_passes_beside_itself_and_not_where_nothing_is_known(make_run, gate):
    run = make_run("task=reach")
    code, said, _ = gate(f"run={run}", f"against={run}", *QUICK)
    assert code == 0
    assert said.startswith("PASS: by recorded data")
    assert "+0 beside" in said
    code, said, _ = gate(f"run={run}", f"against={run}", *QUICK, "least_explained=1", "seed=1")
    assert code == 0, "what never moves is explained"


@pytest.mark.parametrize(("passes", "code", "word"), [((True, True), 0, "PASS"), ((True, False), 1, "HOLD")])
def test_one_agent_that_is_held_holds_the_deployment(monkeypatch, gate, passes, code, word):
    verdicts = [Verdict(one, "why", Difference(0.0, 0.0, 0.0)) for one in passes]
    monkeypatch.setattr("journeyman.gate.judge", lambda options: dict(zip("ab", verdicts, strict=True)))
    assert gate("run=new", "against=old") == (code, f"a: PASS: why\nb: {word}: why", "")


def test_what_does_not_fit_is_refused(make_run, gate, tmp_path):
    run = make_run("task=reach")
    other = make_run("task=lift_cube")
    for words, expected in (
        ([f"run={run}"], "against"),
        ([f"run={run}", f"against={other}"], "do not observe and act alike"),
        ([f"run={run}", "against=nowhere"], "nowhere is not a run directory"),
        ([f"run={run}", f"against={run}", "step=3"], "Did you mean 'steps'?"),
        ([f"run={run}", f"against={run}", "tolerance=2"], "tolerance 2.0 must lie in [0, 1]"),
        ([f"run={run}", f"against={run}", "dynamics.members=0"], "members 0 must be at least 1"),
    ):
        code, _, error = gate(*words)
        assert code == 2
        assert expected in error
    chunked = make_run("task=reach", "algorithm.chunk=3")
    code, _, error = gate(f"run={chunked}", f"against={run}")
    assert code == 2
    assert "decides on 3 actions at once" in error
    (checkpoint,) = (run / "checkpoints").iterdir()
    checkpoint.rename(tmp_path / "gone")
    code, _, error = gate(f"run={run}", f"against={run}")
    assert code == 2
    assert "has no checkpoint yet" in error


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [["task.reward.kind=dense"], []],
            "differ in task.reward, so their recorded rewards do not mean the same",
        ),
        ([[], ["reward=classifier", "reward.config.model=x"]], "differ in reward, so"),
        ([["task=reach_goal"], ["task=reach_goal", "task.goal.tolerance=0.1"]], "differ in task.goal, so"),
        ([["reward=vice"], ["reward=vice"]], "new has reward=vice, which is paid anew in every update"),
    ],
)
def test_runs_that_are_paid_otherwise_are_not_judged_together(monkeypatch, overrides, expected):
    runs = {
        name: compose(["task=reach", *words]) for name, words in zip(("new", "old"), overrides, strict=True)
    }
    monkeypatch.setattr(
        "journeyman.gate.RunDirectory.open", lambda path, words: (None, runs[path.name]), raising=True
    )
    # What observes and acts is alike; of the reward nothing is made.
    monkeypatch.setattr("journeyman.gate.make_env", lambda config, run: make_env(compose(["task=reach"])))
    with pytest.raises(InputError, match=expected):
        judge(CHOSEN)


@pytest.mark.parametrize(
    ("low", "worse", "explained", "passes"),
    [
        (0.1, 0.0, 0.9, True),
        (0.0, 0.0, 0.9, True),
        (-0.1, 0.0, 0.9, False),
        (-0.1, 0.2, 0.9, True),
        (0.1, 0.0, 0.4, False),
        (float("nan"), 0.2, 0.9, False),
        (0.1, 0.0, float("nan"), False),
    ],
)
def test_on_any_doubt_it_holds(low, worse, explained, passes):
    verdict = verdict_of(Difference(low + 0.1, low, low + 0.2), worse, explained, CHOSEN)
    assert verdict.passes is passes
    assert ("too few or too noisy" in verdict.reason) == (not explained >= 0.5)
