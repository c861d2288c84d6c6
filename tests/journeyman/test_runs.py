"""`journeyman runs`: a line for each run, whatever state it is in."""

import json

import pytest
import torch

from agent.journal import Journal
from journeyman.cli import main
from journeyman.config import compose
from journeyman.run_directory import RunDirectory
from journeyman.runs import line_of


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*overrides, steps=0, evaluations=(), checkpoint=False, report=None):
        directory = RunDirectory.create(compose(["task=reach", *overrides]))
        journal = Journal(directory.journal)
        for at, successes in evaluations:
            journal.write("evaluation", {"environment_steps": at, "successes": successes, "episodes": 20})
        journal.write("learner", {"environment_steps": steps})
        journal.close()
        if checkpoint:
            tensors = {"x": torch.zeros(1)}
            directory.checkpoints().save(steps, tensors, tensors, {})
        if report is not None:
            directory.report.mkdir()
            (directory.report / "summary.json").write_text(json.dumps({"success_rate": report}))
        return directory

    return make


def listed(capsys, *words):
    assert main(["runs", *words, "json=-"]) == 0
    return json.loads(capsys.readouterr().out)["runs"]


def test_how_far_runs_came_and_how_they_ended(make, capsys):
    planned = "learner.max_environment_steps=500"
    make(
        "seed=1",
        planned,
        steps=500,
        evaluations=[(200, 18), (300, 12), (400, 18)],
        checkpoint=True,
        report=0.75,
    )
    make("seed=2", planned, steps=500, checkpoint=True)
    make("seed=3", planned, "algorithm=sac", steps=120)
    failed = make("seed=4", planned, steps=10)
    failed.logs.mkdir()
    entry = {"logger": "end", "level": "CRITICAL", "message": "InputError: The port is taken."}
    (failed.logs / "train.jsonl").write_text(f'{{"logger": "begin"}}\n{json.dumps(entry)}\n')
    running = make("seed=5", planned, steps=60)
    damaged = make("seed=6", planned)
    damaged.config.write_text("novelty: 1\n")
    running.hold()  # Until this process ends.
    lines = {line.get("seed"): line for line in listed(capsys)}
    assert lines[1]["best_evaluation"] == {"success_rate": 0.9, "episodes": 20, "steps": 400}
    assert (lines[1]["success_rate"], lines[1]["steps"], lines[1]["planned_steps"]) == (0.75, 500, 500)
    assert lines[2]["best_evaluation"] is None
    assert lines[3]["algorithm"] == "sac"
    assert "novelty" in lines[None]["fault"]
    assert {seed: lines[seed]["ended"] for seed in range(1, 6)} == {
        1: "complete",
        2: "complete, without a report",
        3: "stopped",
        4: "failed: InputError: The port is taken.",
        5: "runs",
    }


def test_a_run_of_several_agents_is_complete_when_each_has_a_policy(make):
    directory = make("task=relocate", "practice=forward_backward", "algorithm=ibrl", steps=6000, report=0.9)
    tensors = {"x": torch.zeros(1)}
    for name, ended in (("there", "stopped"), ("back", "complete")):
        directory.agent(name).checkpoints().save(3000, tensors, tensors, {})
        assert line_of(directory.path)["ended"] == ended


@pytest.mark.parametrize(("done", "ended"), [(10, "stopped"), (20, "complete")])
def test_an_offline_run_is_complete_after_its_last_update(make, done, ended):
    directory = make("learner.max_environment_steps=0", "algorithm=iql", checkpoint=True, report=0.9)
    with directory.journal.open("a") as journal:
        journal.write(json.dumps({"kind": "learner", "environment_steps": 0, "offline": [done, 20]}) + "\n")
    assert line_of(directory.path)["ended"] == ended


def test_what_ended_an_actor_is_told(make):
    directory = make(steps=10)
    directory.logs.mkdir()
    entry = {"logger": "end", "level": "CRITICAL", "message": "InputError: There is no camera."}
    (directory.logs / "actor.actor-0.jsonl").write_text(json.dumps(entry) + "\n")
    assert line_of(directory.path)["ended"] == "failed: InputError: There is no camera."


def test_the_table_has_what_one_types_to_go_on(make, capsys):
    directory = make("seed=7", steps=1234)
    assert main(["runs"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "reach" in line and "seed7" in line]
    assert line.split()[0] == str(directory.path)
    assert "1,234 of 6,000" in line
    assert "stopped" in line


def test_a_journal_that_is_damaged_hides_one_run_only(make, capsys):
    directory = make(steps=5)
    directory.journal.write_text("nonsense\n{}\n")
    assert "fault" in line_of(directory.path.resolve())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no folder runs"),
        (["."], "no run in ."),
        (["nowhere"], "no folder nowhere"),
        (["jsn=-"], "no key 'jsn'"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["runs", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert complaint in said
