"""From recorded data to a policy, and from that policy on: `journeyman pretrain`, then `train init=RUN`."""

import json
import shutil

import numpy as np
import pytest
import torch

from agent.checkpoint import load_checkpoint
from agent.config import InputError
from agent.journal import JournalReader
from journeyman.cli import main
from journeyman.config import compose, read_config
from journeyman.initialisation import begun_from
from journeyman.learner import open_or_create, with_absolute_paths
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_learners

TINY = ["task=reach", "algorithm.config.hidden_sizes=[16,16]", "evaluation.video_episodes=0"]
HIDDEN = "algorithm.config.hidden_sizes=[32,16]"
SMALL = [*TINY, "evaluation.episodes=1", "evaluation.baseline=false"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two pretrained runs: by Cal-QL, and a clone."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = {}
        for algorithm in ("calql", "bc"):
            updates = [
                f"algorithm={algorithm}",
                "algorithm.config.offline_updates=20",
                "demonstrations.episodes=2",
            ]
            assert main(["pretrain", *SMALL, *updates]) == 0
            found[algorithm] = (folder / "runs/latest").resolve()
    return found


def state_of(run):
    return load_checkpoint(RunDirectory(run).checkpoints().newest())[0]


def learner_of(tmp_path, monkeypatch, *overrides, then=lambda learner: None):
    monkeypatch.chdir(tmp_path)
    config, directory = open_or_create([*TINY, *overrides])
    learner, (server,) = make_learners(config, directory, f"ipc://{tmp_path}/learner")
    then(learner)
    server.close()
    server._record_log.close()  # As the end of the process does.
    learner.close()
    return learner, config


def test_the_offline_phase_is_a_run_with_a_report(runs):
    summary = json.loads((runs["calql"] / "report/summary.json").read_text())
    assert summary["offline_updates"] == 20
    assert summary["environment_steps"] == 0
    assert summary["algorithm"] == "calql"


def test_actor_critics_and_temperature_are_taken_over_and_no_data(runs, tmp_path, monkeypatch):
    learner, config = learner_of(tmp_path, monkeypatch, f"init={runs['calql']}", "algorithm=wsrl")
    theirs, ours = state_of(runs["calql"]), learner._algorithm.state_dict()
    for part in ("actor.", "critic.", "target_critic.", "log_temperature"):
        names = [name for name in theirs if name.startswith(part)]
        assert names
        assert all(torch.equal(ours[name], theirs[name]) for name in names)
    assert not any(name.startswith("optimizer.actor") for name in ours), "it begins anew"
    assert len(learner._sampler._sampler._demonstrations) == 0
    assert config.learner.start_steps == 1000


def test_the_best_checkpoint_can_be_evaluated_and_begun_from(runs, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs["calql"], run)
    checkpoints = RunDirectory(run).checkpoints()
    chosen = "evaluation.checkpoint=best"
    assert main(["evaluate", f"run={run}", chosen, "evaluation.episodes=1"]) == 2
    assert "never evaluated while it learned, so no checkpoint is the best" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"init_checkpoint=best, but .* was never evaluated"):
        learner_of(tmp_path, monkeypatch, f"init={run}", "init_checkpoint=best", "algorithm=wsrl")
    best = checkpoints.newest()
    report = {
        "success_rate": 1.0,
        "mean_return": 0.0,
        "policy_version": 0,
        "environment_steps": 0,
        "episodes": 1,
    }
    checkpoints.note_evaluation({"kind": "evaluation", **report})
    newest = run / "checkpoints" / "000000777"
    shutil.copytree(best, newest)
    values = json.loads((newest / "state.json").read_text()) | {"run_steps": 777, "blocks": 777}
    (newest / "state.json").write_text(json.dumps(values))
    for options, steps in (([], 777), ([chosen], 0)):
        assert main(["evaluate", f"run={run}", "evaluation.episodes=1", *options]) == 0
        assert f"after {steps} environment steps" in capsys.readouterr().out
    (newest / "state.safetensors").unlink()
    learner, _ = learner_of(tmp_path, monkeypatch, f"init={run}", "init_checkpoint=best", "algorithm=wsrl")
    ours, theirs = learner._algorithm.state_dict(), load_checkpoint(best)[0]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("actor."))


def test_a_clone_gives_its_actor(runs, tmp_path, monkeypatch):
    learner, _ = learner_of(
        tmp_path, monkeypatch, f"init={runs['bc']}", "algorithm=rlpd", "demonstrations.episodes=2"
    )
    theirs, ours = state_of(runs["bc"]), learner._algorithm.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("actor."))


def test_the_same_algorithm_goes_on_without_its_offline_phase_and_with_its_data(runs, tmp_path, monkeypatch):
    overrides = [f"init={runs['calql']}", "algorithm=calql", "demonstrations.episodes=2"]
    learner, config = learner_of(tmp_path, monkeypatch, *overrides)
    assert learner._state.is_past_offline
    assert config.demonstrations.folder == str(runs["calql"] / "demonstrations")
    assert len(learner._sampler._sampler._demonstrations) > 0


def test_other_demonstrations_are_kept_and_the_path_holds_from_anywhere(runs, monkeypatch):
    given = compose([*TINY, f"init={runs['calql']}", "demonstrations.folder=mine"])
    assert begun_from(given) == given
    monkeypatch.chdir(runs["calql"].parent)
    relative = compose([*TINY, f"init={runs['calql'].name}"])
    assert with_absolute_paths(relative).init == str(runs["calql"])


def test_a_checkpoint_of_its_own_goes_before(runs, tmp_path, monkeypatch):
    def save_another(learner):
        with torch.no_grad():
            learner._algorithm.log_temperature.fill_(-7.0)
        learner._safe.save()

    learner_of(tmp_path, monkeypatch, f"init={runs['calql']}", "algorithm=wsrl", then=save_another)
    config, directory = open_or_create([f"run={tmp_path / 'runs/latest'}"], supervised=True)
    again, (server,) = make_learners(config, directory, f"ipc://{tmp_path}/again")
    server.close()
    again.close()
    assert float(again._algorithm.log_temperature) == -7.0


def test_a_run_that_has_begun_needs_the_other_one_no_more(runs, tmp_path, monkeypatch):
    gone = shutil.copytree(runs["calql"], tmp_path / "gone")
    learner_of(
        tmp_path, monkeypatch, f"init={gone}", "algorithm=wsrl", then=lambda learner: learner._safe.save()
    )
    shutil.rmtree(gone)
    config, directory = open_or_create([f"run={tmp_path / 'runs/latest'}"], supervised=True)
    again, (server,) = make_learners(config, directory, f"ipc://{tmp_path}/again")
    server.close()
    again.close()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["algorithm=wsrl"], "but init is null: give init=RUN"),
        (["init=nowhere", "algorithm=wsrl"], "nowhere is not a run directory"),
        (["init={calql}", "algorithm=wsrl", HIDDEN], r"actor\.trunk\.0\.bias is of shape"),
        (["init={calql}", "algorithm=wsrl", "algorithm.config.critics=3"], r"critic\.head\.bias is of shape \[2,"),
        (["init={calql}", "algorithm=wsrl", "algorithm.config.layer_norm=false"], "in it and absent in this run"),
        (["init={calql}", "algorithm=bc"], "BC cannot begin with the policy of another run"),
        (["init={calql}", "algorithm=wsrl", "task=lift_cube"], r"actor\.\S+ is of shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_a_run_begins(runs, tmp_path, monkeypatch, overrides, words):
    monkeypatch.chdir(tmp_path)
    chosen = [override.format(**runs) for override in overrides]
    with pytest.raises(InputError, match=words):
        open_or_create([*TINY, "demonstrations.episodes=2", *chosen])
    assert not list(tmp_path.glob("runs/*"))


def test_init_cannot_change_within_a_run(runs, tmp_path, monkeypatch):
    learner_of(tmp_path, monkeypatch, f"init={runs['calql']}", "algorithm=wsrl")
    with pytest.raises(InputError, match="init cannot change"):
        open_or_create([f"run={tmp_path / 'runs/latest'}", f"init={runs['bc']}"], supervised=True)


def test_an_algorithm_without_an_offline_phase_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", *SMALL, "algorithm=rlpd"]) == 2
    assert "algorithm=rlpd has no offline phase: choose calql" in capsys.readouterr().err


@pytest.mark.slow
def test_the_pretrained_policy_acts_frozen_until_the_warm_up_is_over(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [
        "algorithm=wsrl",
        f"init={runs['calql']}",
        "learner.start_steps=80",
        "learner.max_environment_steps=120",
    ]
    assert (
        main(["train", *SMALL, *overrides, "learner.checkpoint_every=50", "learner.keep_checkpoints=9"]) == 0
    )
    run = (tmp_path / "runs/latest").resolve()
    entries = JournalReader(run / "journal.jsonl").new()
    assert max(e["updates"] for e in entries if e["kind"] == "learner") == 4 * 40
    rows = np.concatenate(list(_records(run)))
    first = rows[:80]
    assert set(first["policy_version"].tolist()) == {0}


def _records(run):
    from agent.record_log import RecordLog
    from journeyman.wiring import make_env, make_spec

    config = read_config(run / "config.yaml")
    env = make_env(config)
    log = RecordLog.open(RunDirectory(run).replay_log, make_spec(env).dtype)
    yield from log.records()
    env.close()
