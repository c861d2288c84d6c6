"""The live view of a run: read from its journal, drawn in the terminal, or as lines where there is none."""

import logging
import sys
import time
from collections import deque
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from agent.journal import JournalReader
from agent.transport.admission import printable
from agent.turns import ActorState
from journeyman.config import RunConfig
from journeyman.disk_watch import DiskWatch
from journeyman.help import helped_command
from journeyman.run_directory import RunDirectory
from journeyman.run_log import for_people

log = logging.getLogger(__name__)

_RECENT_EPISODES = 20
_LINE_EVERY_S = 15.0


class LiveView:
    """Success, experience, speed and age of the policy, about four times a second."""

    def __init__(self, config: RunConfig, directory: RunDirectory) -> None:
        self._config = config
        self._helped = helped_command(directory.path)
        self._reader = JournalReader(directory.journal)
        self._disk = DiskWatch(directory.path, int(config.transport.spare_disk_gb * 1e9))
        self._console = Console()
        self._console.file = for_people(sys.stdout)  # What it says is logged by `message`.
        self._recent: deque[bool] = deque(maxlen=_RECENT_EPISODES)
        self._episodes = 0
        self._learners: dict[str, dict[str, Any]] = {}
        self._episode: dict[str, Any] = {}
        self._evaluations: dict[str, dict[str, Any]] = {}
        self._speed: deque[tuple[float, int]] = deque(maxlen=60)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn()
        )
        self._stage = ("environment steps", 0, config.learner.max_environment_steps)
        self._bar = self._progress.add_task(self._stage[0], total=self._stage[2])
        self._live = Live(console=self._console, refresh_per_second=4) if self._console.is_terminal else None
        self._last_line_s = time.monotonic()
        self._take_in()  # A resumed run shows where it stands, and prints none of its old evaluations.
        self._speed.clear()

    def __enter__(self) -> "LiveView":
        """Begin to draw."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last picture standing."""
        if self._live:
            self._live.stop()

    def message(self, text: str, **fields: object) -> None:
        """Say something that stays; `fields` are for the log alone."""
        log.info("%s", text, extra={"fields": fields})
        # Of others' words: what is in brackets is no markup, and what a terminal would obey is not shown.
        shown = "\n".join(map(printable, text.splitlines()))
        self._console.print(shown, soft_wrap=True, markup=False)

    def refresh(self) -> None:
        """Take in what is new and draw it."""
        if (news := self._disk.news()) is not None:
            self.message(news)
        for entry in self._take_in():
            if entry["kind"] == "evaluation":
                self.message(_evaluation_line(entry))
            elif entry["kind"] == "agent_failed" or (entry["kind"] == "rollback" and "agent" not in entry):
                self.message(entry["message"])  # A team says of its agents what became of them.
            elif entry["kind"] == "policy_refused":
                self.message(f"{entry.get('actor', 'An actor')}: {entry['message']}")
            elif entry["kind"] == "fault":
                self.message(f"{entry['actor']} waits: {entry['message']}")
            elif entry["kind"] == "state":
                self._say_if_asked(entry)
        if self._live:
            self._live.update(Group(self._progress, self._table()))
        elif time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self.message(self._line())

    def _say_if_asked(self, entry: dict[str, Any]) -> None:
        """An actor begins, or ends, to wait for a person."""
        if entry["state"] == ActorState.WAITING_FOR_HUMAN:
            self.message(f"{entry['actor']} waits for a person. {entry['why']} Then type: {self._helped}")
        elif entry["before"] == ActorState.WAITING_FOR_HUMAN:
            self.message(f"{entry['actor']} waits for a person no longer.")

    def _take_in(self) -> list[dict[str, Any]]:
        entries = self._reader.new()
        for entry in entries:
            if entry["kind"] == "learner":
                self._learners[entry.get("agent", "")] = entry
                self._go_on(entry)
            elif entry["kind"] == "episode":
                self._episode = entry
                self._episodes += 1
                self._recent.append(entry["success"])
            elif entry["kind"] == "evaluation":
                self._evaluations[entry.get("agent", "")] = entry
        return entries

    def _go_on(self, entry: dict[str, Any]) -> None:
        """Progress of what the learner does now: its offline phase, then environment steps, if there are to be any."""
        steps = self._config.learner.max_environment_steps
        done, wanted = entry.get("offline", (0, 0))
        before, _, _ = self._stage
        if done < wanted or not steps:
            self._stage = ("updates of the offline phase", done, wanted)
        else:
            self._stage = ("environment steps", entry["environment_steps"], steps)
        stage, completed, total = self._stage
        if stage != before:
            self._speed.clear()
        self._speed.append((entry["time"], completed))
        self._progress.update(self._bar, description=stage, completed=completed, total=total)

    def _values(self) -> dict[str, str]:
        """What is shown, in order."""
        learners = self._learners.values()
        steps = max((entry["environment_steps"] for entry in learners), default=0)
        minutes = steps / self._config.task.control_rate_hz / 60
        return {
            **self._evaluation_values(),
            f"success of last {_RECENT_EPISODES}": f"{sum(self._recent) / len(self._recent):.0%}"
            if self._recent
            else "-",
            "episodes": f"{self._episodes:,}",
            "robot minutes": f"{minutes:.1f}",
            "updates": f"{sum(entry['updates'] for entry in learners):,}",
            "updates/s": f"{sum(entry['updates_per_s'] for entry in learners):.0f}",
            "policy age": self._policy_age(),
            "time left": self._time_left(),
        }

    def _evaluation_values(self) -> dict[str, str]:
        """The newest of each agent."""
        return {
            f"evaluation of {name}" if name else "evaluation": (
                f"{entry['success_rate']:.0%} at {entry['environment_steps']:,}" if entry else "-"
            )
            for name, entry in ((name, self._evaluations.get(name)) for name in self._config.practice.agents)
        }

    def _policy_age(self) -> str:
        """How many blocks of updates the policy lacks that acted last."""
        learner = self._learners.get(self._episode.get("agent", ""))
        if not self._episode or not learner:
            return "-"
        return f"{max(0, learner['policy_version'] - self._episode['policy_version'])} steps"

    def _time_left(self) -> str:
        if len(self._speed) < 2 or self._speed[-1][1] <= self._speed[0][1]:
            return "-"
        (first_s, first), (last_s, last) = self._speed[0], self._speed[-1]
        remaining = self._stage[2] - last
        seconds = max(0.0, remaining * (last_s - first_s) / (last - first))
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 3))
        values = self._values()
        for _ in values:
            table.add_column(justify="left")
        table.add_row(*(f"[dim]{name}" for name in values))
        table.add_row(*(f"[bold]{value}" for value in values.values()))
        return table

    def _line(self) -> str:
        stage, completed, _ = self._stage
        values = "; ".join(f"{name} {value}" for name, value in self._values().items())
        return f"{completed:,} {stage}; {values}"


def _evaluation_line(entry: dict[str, Any]) -> str:
    whose = f" of {entry['agent']}" if "agent" in entry else ""
    return (
        f"evaluation{whose} at {entry['environment_steps']:,} steps: {entry['successes']} of {entry['episodes']} "
        f"({entry['success_rate']:.0%}, 95 % interval {entry['success_low']:.0%} to {entry['success_high']:.0%})"
    )
