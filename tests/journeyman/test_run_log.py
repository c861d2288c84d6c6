"""Programs read what people are told, and people are told what they always were."""

import json
import logging
import sys
import threading

import pytest

from agent.config import InputError
from journeyman.run_log import for_people, run_log


@pytest.fixture
def entries(tmp_path):
    def read(process="learner"):
        found = [json.loads(line) for line in (tmp_path / f"{process}.jsonl").read_text().splitlines()]
        assert brief(found[:1]) == [("begin", "INFO", f"{process} begins.")]
        return found[1:]

    return read


def brief(found):
    return [(e["logger"], e["level"], e["message"]) for e in found]


def test_what_is_printed_and_logged_is_kept_and_shown(tmp_path, entries, capsys):
    before = sys.stdout, sys.stderr, logging.getLogger().level, list(logging.getLogger().handlers)
    with run_log(tmp_path, "learner"):
        print("one", 2, flush=True)
        print("line\nby line", file=sys.stderr)
        logging.getLogger("agent.x").info("joins", extra={"fields": {"actor": "a"}})
        logging.getLogger("agent.x").warning("lost %s", "it")
        logging.getLogger("ros.twin").warning("ROS shows this itself")
        print("unfinished", end="")
    assert (sys.stdout, sys.stderr, logging.getLogger().level, list(logging.getLogger().handlers)) == before
    shown = capsys.readouterr()
    assert shown.out == "one 2\nunfinished"
    assert shown.err == "line\nby line\nlost it\n"
    found = entries()
    assert brief(found) == [
        ("stdout", "INFO", "one 2"),
        ("stderr", "WARNING", "line"),
        ("stderr", "WARNING", "by line"),
        ("agent.x", "INFO", "joins"),
        ("agent.x", "WARNING", "lost it"),
        ("ros.twin", "WARNING", "ROS shows this itself"),
    ]
    assert found[3]["fields"] == {"actor": "a"}


def test_the_exception_that_ends_it_is_the_last_entry(tmp_path, entries):
    with pytest.raises(ZeroDivisionError), run_log(tmp_path, "learner"):
        print(1 / 0)
    (last,) = entries()
    assert (last["level"], last["message"]) == ("CRITICAL", "ZeroDivisionError: division by zero")
    assert "test_run_log" in last["exception"]


@pytest.mark.parametrize("error", [InputError("wrong seed"), OSError(28, "No space left on device")])
def test_of_what_is_no_defect_no_traceback_is_kept(tmp_path, entries, error):
    with pytest.raises(type(error)), run_log(tmp_path, "learner"):
        raise error
    (last,) = entries()
    assert str(error) in last["message"]
    assert "exception" not in last


def test_wrong_input_leaves_no_folder(tmp_path):
    with pytest.raises(InputError), run_log(tmp_path / "runs/logs", "learner"):
        raise InputError("wrong seed")
    assert not list(tmp_path.iterdir())


def test_an_interruption_is_no_failure(tmp_path, entries):
    with pytest.raises(KeyboardInterrupt), run_log(tmp_path, "learner"):
        raise KeyboardInterrupt
    assert brief(entries()) == [("end", "INFO", "Interrupted.")]


def test_a_thread_that_dies_is_logged_and_shown_once(tmp_path, entries, capsys):
    with run_log(tmp_path, "learner"):
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
    shown = capsys.readouterr().err
    assert shown.startswith("Exception in thread worker:\nTraceback")
    assert shown.count("ZeroDivisionError") == 1
    (entry,) = entries()
    assert "division by zero" in entry["exception"]


def test_lines_of_several_threads_do_not_mix(tmp_path, entries):
    def talk(letter):
        for _ in range(100):
            for _ in range(5):
                sys.stdout.write(letter)
            sys.stdout.write("\n")

    with run_log(tmp_path, "learner"):
        threads = [threading.Thread(target=talk, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(e["message"] for e in entries()) == [c * 5 for c in "abcd" for _ in range(100)]


def test_what_is_drawn_is_shown_and_not_kept(tmp_path, entries, capsys):
    with run_log(tmp_path, "learner"):
        print("\x1b[2Kdrawn")
        print("drawn, too", file=for_people(sys.stdout))
        print("said")
    assert capsys.readouterr().out == "\x1b[2Kdrawn\ndrawn, too\nsaid\n"
    assert [e["message"] for e in entries()] == ["said"]


def test_of_what_is_drawn_over_the_last_is_kept_and_no_memory_taken(tmp_path, entries, capsys):
    with run_log(tmp_path, "learner"):
        for number in range(3):
            print(f"\r{number} of 3", end="")
        assert sys.stdout._begun.line == "2 of 3"
        print("\r3 of 3\r")
        sys.stdout.write("x" * 100_000)
        assert len(sys.stdout._begun.line) < 100_000
    assert capsys.readouterr().out.startswith("\r0 of 3\r1 of 3\r2 of 3\r3 of 3\r\n")
    assert [e["message"] for e in entries()] == ["3 of 3"]
