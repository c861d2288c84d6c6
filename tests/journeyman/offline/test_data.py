"""`journeyman data check`: a report on the screen, a file only where one is asked for, one sentence for wrong input."""

import json

import numpy as np
import pytest

from journeyman.cli import main
from journeyman.config import compose
from journeyman.wiring import make_env


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_data_set_is_reported_and_nothing_written(write_d4rl, tmp_path, capsys):
    path = write_d4rl()
    assert main(["data", "check", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "transitions 6: 16.67% terminate, 33.33% cut an episode" in said
    assert "episodes 3: 66.7% end by a time-out or with the data" in said
    assert "dropped 2 steps" in said
    assert "state [3]" in said
    assert "Warning" not in said
    assert list(tmp_path.iterdir()) == [path]


def test_warnings_are_no_error(write_d4rl, capsys):
    assert main(["data", "check", str(write_d4rl(rewards=np.zeros(8)))]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Warning: All rewards are 0" in said
    assert "Warning: No episode succeeds" in said


def test_the_report_as_json(write_minari, tmp_path, capsys):
    folder = str(write_minari())
    assert main(["data", "check", folder, "out=report.json"]) == 0
    assert "transitions" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["transitions"], report["episodes"], report["timeout_share"]) == (8, 2, 0.5)
    assert len(report["action_low"]) == 2
    assert main(["data", "check", folder, "out=-"]) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_a_task_says_what_must_fit(write_d4rl, capsys):
    path = str(write_d4rl())
    assert main(["data", "check", path, "task=reach"]) == 2
    assert "holds per step observations [3], but" in capsys.readouterr().err
    env = make_env(compose(["task=reach"]))
    (state,), (actions,) = env.observation_space["state"].shape, env.action_space.shape
    env.close()
    rng = np.random.default_rng(0)
    fits = write_d4rl(observations=rng.normal(size=(8, state)), actions=rng.uniform(-1, 1, (8, actions)))
    assert main(["data", "check", str(fits), "task=reach"]) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "takes one data set, not 0"),
        (["a.hdf5", "b.hdf5"], "takes one data set, not 2"),
        (["absent.hdf5"], "There is no file absent.hdf5"),
        (["."], "is no data set"),
        (["absent.hdf5", "task=juggle"], "juggle"),
    ],
)
def test_wrong_input_is_one_sentence(capsys, words, expected):
    assert main(["data", "check", *words]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1


def test_wrong_data_write_nothing(write_d4rl, tmp_path, capsys):
    path = write_d4rl(terminals=None)
    assert main(["data", "check", str(path), "out=report.json"]) == 2
    assert "no field 'terminals'" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()
