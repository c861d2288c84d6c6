"""A person is asked for a hand, while the robot rests."""

import time
from collections.abc import Callable
from typing import Protocol

from robot_env.contracts import Activity, KeepGoing
from robot_env.robot import Robot

_LOOK_EVERY_S = 0.1


class Operator(Protocol):
    """The way to a person."""

    def ask(self, question: str) -> None:
        """Put a question where a person will see it. The same one again changes nothing.

        Raises:
            OSError: It cannot be put there. Then nobody is taken to have answered.
        """
        ...

    def answered(self) -> bool:
        """Whether a person has said that it is done, since `ask`."""
        ...

    def done(self) -> None:
        """There is nothing to ask any more; whatever may still stand there is taken away."""
        ...


class HumanHelp:
    """Stops the robot, asks, and waits as long as it takes.

    Time is the wall's: a twin's would stand still while nobody steps it, and people live by the wall anyway.

    Args:
        robot: Rests meanwhile, and is told nothing.
        operator: The way to a person.
        sleep: Lets time pass.
    """

    def __init__(
        self, robot: Robot, operator: Operator, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._robot, self._operator, self._sleep = robot, operator, sleep

    def wait(self, question: str, keep_going: KeepGoing) -> None:
        """Ask, and return when a person has said that it is done.

        Args:
            question: What is wrong, and what to do.
            keep_going: Asked about ten times a second, with the question. What it raises ends the wait; the question
                stays, so that a restarted program does not ask a second time.

        Raises:
            OSError: The question cannot be put.
        """
        self._robot.stop()
        self._operator.ask(question)
        while True:
            keep_going(Activity.WAITING_FOR_HUMAN, question)
            if self._operator.answered():
                break
            self._sleep(_LOOK_EVERY_S)
        self._operator.done()

    def withdraw(self) -> None:
        """Take back what may still be asked from before: the scene is in a start state."""
        self._operator.done()
