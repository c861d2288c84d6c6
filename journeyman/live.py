"""The live view of a run: read from its journal, drawn in the terminal, or as lines where there is none."""

import time
from collections import deque
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from agent.journal import JournalReader
from journeyman.config import RunConfig
from journeyman.run_directory import RunDirectory

_RECENT_EPISODES = 20
_LINE_EVERY_S = 15.0


class LiveView:
    """Success, experience, speed and age of the policy, about four times a second."""

    def __init__(self, config: RunConfig, directory: RunDirectory) -> None:
        self._config = config
        self._reader = JournalReader(directory.journal)
        self._console = Console()
        self._recent: deque[bool] = deque(maxlen=_RECENT_EPISODES)
        self._episodes = 0
        self._learner: dict[str, Any] = {}
        self._episode: dict[str, Any] = {}
        self._evaluation: dict[str, Any] = {}
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

    def message(self, text: str) -> None:
        """Say something that stays."""
        self._console.print(text, soft_wrap=True)

    def refresh(self) -> None:
        """Take in what is new and draw it."""
        for entry in self._take_in():
            if entry["kind"] == "evaluation":
                self.message(_evaluation_line(entry))
            elif entry["kind"] == "fault":
                self.message(f"{entry['actor']} waits: {entry['message']}")
        if self._live:
            self._live.update(Group(self._progress, self._table()))
        elif time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self.message(self._line())

    def _take_in(self) -> list[dict[str, Any]]:
        entries = self._reader.new()
        for entry in entries:
            if entry["kind"] == "learner":
                self._learner = entry
                self._go_on(entry)
            elif entry["kind"] == "episode":
                self._episode = entry
                self._episodes += 1
                self._recent.append(entry["success"])
            elif entry["kind"] == "evaluation":
                self._evaluation = entry
        return entries

    def _go_on(self, entry: dict[str, Any]) -> None:
        """Progress of what the learner does now: its warm start, then the environment steps, if there are to be any."""
        steps = self._config.learner.max_environment_steps
        done, wanted = entry.get("warm_start", (0, 0))
        before, _, _ = self._stage
        if done < wanted or not steps:
            self._stage = ("updates of the warm start", done, wanted)
        else:
            self._stage = ("environment steps", entry["environment_steps"], steps)
        stage, completed, total = self._stage
        if stage != before:
            self._speed.clear()
        self._speed.append((entry["time"], completed))
        self._progress.update(self._bar, description=stage, completed=completed, total=total)

    def _values(self) -> dict[str, str]:
        """What is shown, in order."""
        steps = self._learner.get("environment_steps", 0)
        minutes = steps / self._config.task.control_rate_hz / 60
        evaluation = self._evaluation
        return {
            "evaluation": f"{evaluation['success_rate']:.0%} at {evaluation['environment_steps']:,}"
            if evaluation
            else "-",
            f"success of last {_RECENT_EPISODES}": f"{sum(self._recent) / len(self._recent):.0%}"
            if self._recent
            else "-",
            "episodes": f"{self._episodes:,}",
            "robot minutes": f"{minutes:.1f}",
            "updates": f"{self._learner.get('updates', 0):,}",
            "updates/s": f"{self._learner.get('updates_per_s', 0):.0f}",
            "policy age": self._policy_age(),
            "time left": self._time_left(),
        }

    def _policy_age(self) -> str:
        """How many blocks of updates the acting policy lacks."""
        if not self._episode or not self._learner:
            return "-"
        return f"{max(0, self._learner['policy_version'] - self._episode['policy_version'])} steps"

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
    return (
        f"evaluation at {entry['environment_steps']:,} steps: {entry['successes']} of {entry['episodes']} "
        f"({entry['success_rate']:.0%}, 95 % interval {entry['success_low']:.0%} to {entry['success_high']:.0%})"
    )
