"""W&B gets what it understands; it is not needed for that here."""

import sys
from types import SimpleNamespace

import pytest

from agent.config import InputError
from journeyman.config import compose
from journeyman.sinks.assembly import make_sinks
from journeyman.sinks.sink import Outlets
from journeyman.sinks.wandb import make


class Wandb:
    """The module `wandb`, as far as it is used."""

    def __init__(self):
        self.inits, self.metrics, self.rows, self.finished = [], [], [], 0

    def init(self, **options):
        self.inits.append(options)
        return SimpleNamespace(
            define_metric=lambda name, step_metric: self.metrics.append((name, step_metric)),
            log=self.rows.append,
            finish=self.finish,
        )

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    fake = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "2026_reach"
    run.mkdir()
    (run / "run_id").write_text("ab" * 16)
    return run


def test_a_run_is_one_run_there_and_stays_on_this_machine_unless_asked(wandb, run):
    outlets = Outlets({"wandb": make({}, run, "learner")}, pytest.fail)
    outlets.write(3, {"offline/loss": 1.0, "run/free_disk_bytes": 9.0})
    outlets.write(5, {"learner/loss": 0.5})
    outlets.close()
    (options,) = wandb.inits
    assert options["mode"] == "offline"
    assert (options["id"], options["resume"], options["name"]) == ("ab" * 16, "allow", "2026_reach")
    assert options["dir"] == str(run)
    assert wandb.rows == [
        {"offline/loss": 1.0, "run/free_disk_bytes": 9.0, "offline_updates": 3},
        {"learner/loss": 0.5, "environment_steps": 5},
    ]
    assert ("*", "environment_steps") in wandb.metrics
    assert wandb.finished == 1


def test_options_are_passed_on_and_others_refused(wandb, run):
    outlets = Outlets({"wandb": make({"mode": "online", "entity": "lab"}, run, "learner")}, pytest.fail)
    outlets.close()
    assert (wandb.inits[0]["mode"], wandb.inits[0]["entity"]) == ("online", "lab")
    with pytest.raises(InputError, match=r"sink\.wandb\.config"):
        make({"mode": "disabled"}, run, "learner")


def test_without_it_the_run_goes_on(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "wandb", None)
    told = []
    outlets = Outlets({"wandb": make({}, run, "learner")}, told.append)
    outlets.write(1, {"learner/loss": 0.5})
    outlets.close()
    assert len(told) == 1
    assert "wandb" in told[0]


def test_nothing_is_imported_unless_a_run_asks_for_it(wandb, run):
    assert "wandb" not in make_sinks(compose([]), run, "learner")
    sinks = make_sinks(compose(["sink=[wandb]", "sink.wandb.config.project=arms"]), run, "learner")
    assert list(sinks) == ["wandb"]
    assert wandb.inits == []
