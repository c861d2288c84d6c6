"""The question of an actor, from the file that it stands in to the person who answers it."""

import pytest

from journeyman.cli import main
from journeyman.help import make_file_operator, questions

QUESTION = "Put the cube back. What is wrong: it is out of reach."


@pytest.fixture
def operator(tmp_path):
    return make_file_operator(tmp_path, "actor-0")


def test_a_question_stands_until_it_is_answered(tmp_path, operator, capsys):
    assert questions(tmp_path) == {}
    operator.ask(QUESTION)
    said = capsys.readouterr().out
    assert QUESTION in said
    assert f"journeyman helped run={tmp_path}" in said
    assert questions(tmp_path) == {"actor-0": QUESTION}
    assert not operator.answered()

    assert main(["helped", f"run={tmp_path}"]) == 0
    assert QUESTION in capsys.readouterr().out
    assert operator.answered()
    assert questions(tmp_path) == {}


def test_a_question_survives_the_process_and_is_not_written_again(tmp_path, operator):
    operator.ask(QUESTION)
    file = tmp_path / "help" / "actor-0.txt"
    before = file.stat()
    again = make_file_operator(tmp_path, "actor-0")
    again.ask(QUESTION)
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    again.ask("Something else.")
    assert questions(tmp_path) == {"actor-0": "Something else."}
    assert [path.name for path in file.parent.iterdir()] == ["actor-0.txt"]


def test_what_needs_no_answer_is_taken_away(tmp_path, operator):
    operator.done()
    operator.ask(QUESTION)
    operator.done()
    operator.done()
    assert questions(tmp_path) == {}


def test_a_question_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "help").write_text("no folder")
    with pytest.raises(OSError, match="help"):
        make_file_operator(tmp_path, "actor-0").ask(QUESTION)


def test_where_nobody_asks_that_is_said(tmp_path, operator, capsys):
    assert main(["helped", f"run={tmp_path}"]) == 1
    assert f"Nobody asks for help in {tmp_path}." in capsys.readouterr().out
    operator.ask(QUESTION)
    assert main(["helped", f"run={tmp_path}", "actor=other"]) == 1
    assert "No actor 'other' asks" in capsys.readouterr().out
    assert not operator.answered()


def test_of_several_that_ask_one_must_be_named(tmp_path, operator, capsys):
    operator.ask(QUESTION)
    other = make_file_operator(tmp_path, "actor-1")
    other.ask("Open the gripper.")
    capsys.readouterr()
    assert main(["helped", f"run={tmp_path}"]) == 2
    told = capsys.readouterr()
    assert "actor-1: Open the gripper." in told.out
    assert "2 actors ask: say which one was helped, as actor=actor-0." in told.err
    assert main(["helped", f"run={tmp_path}", "actor=actor-1"]) == 0
    assert other.answered()
    assert not operator.answered()


@pytest.mark.parametrize(
    ("word", "told"), [("run=nowhere", "There is no run nowhere"), ("who=me", "no key 'who'")]
)
def test_what_cannot_be_meant_is_refused(tmp_path, monkeypatch, capsys, word, told):
    monkeypatch.chdir(tmp_path)
    assert main(["helped", word]) == 2
    assert told in capsys.readouterr().err


def test_an_actor_whose_run_is_elsewhere_asks_below_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    operator = make_file_operator(None, "actor-0")
    operator.ask(QUESTION)
    assert "journeyman helped run=runs" in capsys.readouterr().out
    assert main(["helped", "run=runs"]) == 0
    assert operator.answered()
