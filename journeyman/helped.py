"""`journeyman helped`: tell an actor that asked for a hand that it has had it."""

import argparse
from pathlib import Path

from agent.config import Config, InputError
from journeyman.help import make_file_operator, questions
from journeyman.options import read_options

_FAILED = 1


class HelpedOptions(Config):
    """Whom to answer.

    Attributes:
        run: The run's folder; `runs` for an actor whose learner is on another machine.
        actor: Its name; needed if several ask.
    """

    run: str = "runs/latest"
    actor: str | None = None


def run(options: argparse.Namespace) -> int:
    """Show the question and take it away; then the robot goes on.

    Returns:
        0, or 1 if nobody asked.

    Raises:
        InputError: There is no such run, or several actors ask and none is named.
    """
    wanted = read_options(HelpedOptions, options.overrides, "helped")
    folder = Path(wanted.run)
    asking = questions(folder)
    if wanted.actor is not None:
        asking = {actor: question for actor, question in asking.items() if actor == wanted.actor}
    if not asking:
        print(
            f"{'Nobody' if wanted.actor is None else f'No actor {wanted.actor!r}'} asks for help in {folder}."
        )
        return _FAILED
    if len(asking) > 1:
        for actor, question in asking.items():
            print(f"{actor}: {question}")
        raise InputError(f"{len(asking)} actors ask: say which one was helped, as actor={min(asking)}.")
    ((actor, question),) = asking.items()
    make_file_operator(folder, actor).done()
    print(f"{actor} had asked: {question}\nIt goes on.")
    return 0
