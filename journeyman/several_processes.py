"""A learner in several processes, as `torchrun` starts them: the first is the learner, the others work for it."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from agent.config import InputError
from agent.parallel.ranks import Place, Ranks
from agent.parallel.shared import dismiss, follow, refuse_to_split
from agent.sampling import WAYS
from journeyman.config import RunConfig
from robot_env.program import when_signalled


def check_processes(config: RunConfig, processes: int) -> None:
    """See that a run learns the same in several processes as in one.

    Raises:
        InputError: It does not.
    """
    if processes == 1:
        return
    kind, device = config.learner.sampling.kind, config.learner.device
    if WAYS[kind].needs_errors:
        raise InputError(
            f"learner.sampling.kind={kind} wants to know of every transition how critics err, which no process of "
            f"{processes} does: choose uniform, or one process."
        )
    if config.practice.tasks:
        raise InputError(
            f"practice={config.practice.name} has several agents, which learn in one process: choose practice=none."
        )
    if ":" in device:
        raise InputError(
            f"learner.device={device} is one GPU, but each of {processes} processes takes its own: set cuda or cpu."
        )
    refuse_to_split(config.algorithm, processes)


def refuse_to_begin_again(here: Place, resumes: bool) -> None:
    """`torchrun --max-restarts` starts the same command again, which must go on with its run.

    Raises:
        InputError: It would begin a second one.
    """
    if here.count > 1 and not resumes and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        raise InputError(
            "torchrun started this learner again, but without run=DIR that would begin another run: start it once more "
            "with run=DIR, and with --max-restarts only then."
        )


@contextmanager
def leading(here: Place) -> Iterator[Ranks | None]:
    """Of the first process: all of them, of which the others end with the block; None where there are no others."""
    if here.count == 1:
        yield None
        return
    with closing(Ranks(here)) as ranks:
        yield ranks
        dismiss(
            ranks
        )  # Not after an error: who is in the middle of an update hears nothing, but sees this one end.


def assist(here: Place) -> int:
    """Of any other process: work for the first one until it ends.

    Raises:
        InputError: This machine lacks something.
        RankLostError: Another process has ended or is stuck.
    """
    # Who stops the learner stops the first process, which ends the others between two updates.
    when_signalled(lambda: None)
    with closing(Ranks(here)) as ranks:
        follow(ranks)
    return 0
