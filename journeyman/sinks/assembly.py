"""The sinks of a run, from its configuration."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.config import InputError
from journeyman.config import RunConfig
from journeyman.run_directory import RunDirectory
from journeyman.sinks.scalars import EVENTS, scalars
from journeyman.sinks.sink import Outlets, Sink
from journeyman.wiring import load_factory


def make_sinks(config: RunConfig, run: Path, process: str) -> dict[str, Sink]:
    """The sinks that a process feeds, by name. Nothing is opened yet.

    Args:
        config: Of the run.
        run: Folder of the run.
        process: `learner` or `actor`.

    Raises:
        InputError: A factory does not exist or refuses its configuration.
    """
    sinks = {}
    for name, chosen in config.sink.items():
        key = f"sink.{name}.factory"
        factory = load_factory(chosen.factory, key, chosen.config, run, process)
        sink = factory(chosen.config, run, process)
        if not callable(getattr(sink, "write", None)):
            raise InputError(f"{key} {chosen.factory!r} makes no sink; name one that does.")
        if process in chosen.processes:
            sinks[name] = sink
    return sinks


class JournalTap:
    """Hands what the learner writes into the journal to the sinks, beside figures about the run's folder.

    Args:
        outlets: The sinks.
        run: Whose journal it is.
        agents: Names of the agents.
    """

    def __init__(self, outlets: Outlets, run: RunDirectory, agents: tuple[str, ...]) -> None:
        self._outlets = outlets
        self._run = run
        self._step = 0
        self._homes = {name: run.agent(name) for name in agents}

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """Hand over an entry; never raises."""
        if not self._outlets:
            return
        step, values = scalars(entry)
        if step is None and entry["kind"] not in EVENTS:
            return
        self._step = step = self._step if step is None else step  # Where nobody said when, it is now.
        if entry["kind"] == "learner":
            values |= self._folder_figures(str(entry.get("agent", "")))
        self._outlets.write(step, values)

    def _folder_figures(self, agent: str) -> dict[str, float]:
        group = f"run.{agent}" if agent else "run"
        figures = {}
        try:
            figures[f"{group}/free_disk_bytes"] = float(shutil.disk_usage(self._run.path).free)
            newest = self._homes[agent].checkpoints().newest()
            if newest is not None:
                figures[f"{group}/checkpoint_age_s"] = max(0.0, time.time() - newest.stat().st_mtime)
        except (OSError, KeyError):  # A disk that is gone is told by who must write to it.
            pass
        return figures
