"""`journeyman episodes ACTION ...`: what one does with recorded episodes."""

import argparse
import importlib

from agent.config import InputError

# Action -> its module, with `run(words) -> exit code`. Imported late: some need libraries that others do not.
_ACTIONS = {
    "list": "journeyman.episodes.listing",
    "inspect": "journeyman.episodes.inspection",
    "play": "journeyman.episodes.playing",
    "merge": "journeyman.episodes.merging",
    "split": "journeyman.episodes.splitting",
    "stats": "journeyman.episodes.stats",
    "convert": "journeyman.episodes.convert",
}


def run(options: argparse.Namespace) -> int:
    """Do the action.

    Raises:
        InputError: There is no such action.
    """
    if options.action not in _ACTIONS:
        raise InputError(
            f"journeyman episodes has no action {options.action!r}; choose from {', '.join(_ACTIONS)}."
        )
    return int(importlib.import_module(_ACTIONS[options.action]).run(options.words))
