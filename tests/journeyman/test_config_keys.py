"""`journeyman config`: what can be set, to what, and what it means."""

import re

import msgspec
import pytest

from journeyman.cli import main
from journeyman.config import RunConfig, compose, write_config
from journeyman.config_keys import keys_of, meanings
from journeyman.run_directory import RunDirectory


def said(words, capsys):
    assert main(["config", *words]) == 0
    return capsys.readouterr().out


def test_a_key_is_shown_with_value_default_and_meaning(capsys):
    out = said(["learner", "learner.max_environment_steps=77"], capsys)
    assert "learner.max_environment_steps=77   (default: 6000)\n    The run ends when" in out
    assert "learner.device=auto\n" in out
    assert "actor." not in out


def test_parameters_of_the_algorithm_are_shown_that_nobody_set(capsys):
    out = said(["algorithm=sac", "algorithm.config"], capsys)
    assert "algorithm.config.discount=" in out
    assert "algorithm.config.batch_size=" in out


def test_of_a_run_its_own_values_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory.create(compose(["task=reach", "seed=9"]))
    assert said(["run=runs/latest", "seed"], capsys).startswith("seed=9   (default: 0)\n")
    write_config(compose(["task=reach", "seed=8"]), directory.config)
    assert said([f"run={directory.path}", "seed"], capsys).startswith("seed=8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["lerner"], "no key 'lerner'; choose from .*Did you mean 'learner'"),
        (["learner.devce"], "Did you mean 'learner.device'"),
        (["run=nowhere"], "nowhere is not a run directory"),
        (["learner.devce=1"], "no key 'learner.devce'"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["config", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(complaint, said)


@pytest.mark.parametrize("algorithm", ["drq", "bc"])
def test_what_is_shown_is_what_can_be_said_and_it_changes_nothing(algorithm):
    config = compose(["task=lift_cube_pixels", f"algorithm={algorithm}"])
    keys = list(keys_of(config))
    names = [key.name for key in keys]
    assert len(set(names)) == len(names)
    # An empty mapping cannot be said to Hydra, and keys of others' classes are no keys of a run.
    again = [
        f"{key.name}={key.value}" for key in keys if key.name.startswith(("learner.", "actor.", "transport."))
    ]
    assert compose(["task=lift_cube_pixels", f"algorithm={algorithm}", *again]) == config


def test_nothing_of_a_run_is_without_a_meaning():
    untold = [key.name for key in keys_of(compose(["task=lift_cube_pixels"])) if not key.about]
    assert untold == []


def test_a_docstring_is_read_to_its_end():
    class Base(msgspec.Struct):
        """Base.

        Attributes:
            low: The lower one: at
                least this.
        """

        low: int = 0

    class Child(Base):
        """Child.

        Attributes:
            high: The upper one.

        Words that are about no attribute: not read.
        """

        high: int = 1

    assert meanings(Child) == {"low": "The lower one: at least this.", "high": "The upper one."}
    assert meanings(RunConfig)["init_checkpoint"].startswith("Which of that run's")
