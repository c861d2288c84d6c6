"""How programs end: a sentence, an exit code, and no lock in a signal's handler."""

import os
import signal
import threading

import pytest

from agent.config import InputError as LearningInputError
from controllers.config import InputError
from robot_env.program import StopFlag, ThreadDiedError, run_program, when_signalled
from robot_env.robot import RobotError, RobotUnavailableError


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("speed is 3"), 2),
        (LearningInputError("seed is -1"), 2),
        (RobotError("the emergency stop is pressed"), 3),
        (RobotUnavailableError("no joint states"), 3),
        (OSError("No space left on device"), 1),
        (ThreadDiedError("The thread died."), 1),
    ],
)
def test_what_ends_a_program_is_one_sentence_and_a_code(capsys, error, code):
    assert run_program("journeyman train", raising(error)) == code
    assert capsys.readouterr().err == f"journeyman train: {error}\n"


def test_an_interruption_is_no_defect(capsys):
    assert run_program("twin_node", raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "twin_node: interrupted.\n"


def test_a_dead_thread_shows_what_killed_it(capsys):
    error = ThreadDiedError("The thread died.")
    error.__cause__ = ZeroDivisionError("division by zero")
    assert run_program("controller_node", raising(error)) == 1
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_program("journeyman train", raising(ZeroDivisionError()))


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (4, 4)])
def test_the_body_may_say_its_code(returned, code):
    assert run_program("journeyman doctor", lambda: returned) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait(number):
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    flag, timer = StopFlag(), threading.Timer(0.1, os.kill, (os.getpid(), number))
    try:
        when_signalled(flag.set)
        timer.start()
        assert flag.wait(60.0)
    finally:
        timer.join()
        for n, handler in handlers.items():
            signal.signal(n, handler)


def test_a_flag_that_nobody_sets_waits_and_says_so():
    assert not StopFlag().wait(0.0)
