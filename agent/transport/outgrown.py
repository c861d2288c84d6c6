"""A spool that outlives its task: what is of another layout, and was delivered, makes way."""

from contextlib import closing
from pathlib import Path

import numpy as np

from agent.config import InputError
from agent.record_log import end_of, layout_of
from agent.storage import sync
from agent.transition import describe_layout, differing_layout
from agent.transport.ledger import Ledger
from agent.transport.stage import is_left, place_of


def forget_outgrown(directory: Path, dtype: np.dtype[np.void]) -> None:
    """Empty a spool whose transitions are of another layout, if the learner that they were for has them all.

    An actor whose learner is elsewhere has one spool, whatever task it is started with. Nothing happens to a spool of
    this layout, or where there is none.

    Args:
        directory: Of the spool.
        dtype: Layout of the transitions to come.

    Raises:
        InputError: A learner lacks some of them, or the spool is in use or damaged.
        OSError: It is not known what a killed process left, or the disk does not do this.
    """
    segments = sorted(directory.glob("*.log"))
    stream = directory / "stream"
    if not segments or not stream.exists():
        return
    with closing(Ledger(stream)) as ledger:
        differences = differing_layout(describe_layout(dtype), layout_of(segments[-1]))
        if not differences:
            return
        written = max(map(end_of, segments))
        if written > ledger.acknowledged or is_left(place_of(stream), max(written, ledger.acknowledged)):
            raise InputError(
                f"{directory} holds transitions of another task, or of another layout ({'; '.join(differences)}), that "
                "their learner does not have yet: start the actor with that task and learner once more, or remove the "
                "folder to give them up."
            )
        for path in segments:
            path.unlink()
        sync(directory)  # Items of the old stream may not come back under the new one.
        ledger.begin_stream(b"")
