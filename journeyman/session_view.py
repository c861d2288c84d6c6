"""What a person sees while recording: drawn by a thread of its own, so that a slow terminal never delays the robot."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from journeyman.half_blocks import picture
from robot_env.program import ThreadDiedError

Image = NDArray[np.uint8]

_DRAW_EVERY_S = 0.1
_LAST_DRAW_S = 2.0
# Lines of everything but the picture, and the smallest picture that shows something.
_TEXT_ROWS = 12
_FEWEST_ROWS = 6
_MOST_ROWS = 30


class Phase(StrEnum):
    """What goes on."""

    RESETTING = "putting the scene back"
    WAITING = "waiting for your hand"
    RECORDING = "recording"
    UNAVAILABLE = "not available"
    ENDED = "ended"


_COLOURS = {
    Phase.RESETTING: "yellow",
    Phase.WAITING: "cyan",
    Phase.RECORDING: "red",
    Phase.UNAVAILABLE: "magenta",
    Phase.ENDED: "green",
}


@dataclass(frozen=True)
class Picture:
    """One moment of a session.

    Attributes:
        phase: What goes on.
        kept: Episodes in the set.
        wanted: As many are wanted.
        counts: Of other outcomes of this session, by name.
        elapsed_s: Since the episode began.
        step: Of the episode.
        last: What became of the episode before.
        message: What a person should know now.
        images: What the robot's cameras see, RGB.
    """

    phase: Phase
    kept: int
    wanted: int
    counts: Mapping[str, int]
    elapsed_s: float = 0.0
    step: int = 0
    last: str = ""
    message: str = ""
    images: tuple[Image, ...] = ()


class SessionView:
    """The session in the terminal; where there is none, a line for each thing that is said.

    Args:
        title: What is recorded, with what.
        help: Key -> what it does.
        in_terminal: Whether images are drawn in the terminal.
        time_limit_s: Of an episode.
        console: To draw on.
    """

    def __init__(
        self,
        title: str,
        help: Mapping[str, str],
        in_terminal: bool,
        time_limit_s: float,
        console: Console | None = None,
    ) -> None:
        self._title = title
        self._help = help
        self._in_terminal = in_terminal
        self._time_limit_s = time_limit_s
        self._console = console or Console()
        self._newest: Picture | None = None
        self._lines: deque[str] = deque()
        self._ends = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="session-view", daemon=True)

    def __enter__(self) -> "SessionView":
        """Begin to draw."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last picture standing."""
        self._ends.set()
        self._thread.join(_LAST_DRAW_S)  # A terminal that hangs does not keep the robot.

    def show(self, now: Picture) -> None:
        """Draw this soon; returns at once.

        Raises:
            ThreadDiedError: Nothing is drawn any more.
        """
        if self._failure is not None:
            raise ThreadDiedError("The thread that draws the session died.") from self._failure
        self._newest = now

    def say(self, line: str) -> None:
        """Say something that stays."""
        self._lines.append(line)

    def _run(self) -> None:
        try:
            if self._console.is_terminal:
                with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:
                    self._draw_until_ended(live)
            else:
                self._draw_until_ended(None)
        except BaseException as error:  # Kept for `show`.
            self._failure = error

    def _draw_until_ended(self, live: Live | None) -> None:
        drawn: Picture | None = None
        is_last = False
        while not is_last:
            is_last = self._ends.wait(_DRAW_EVERY_S)
            while self._lines:
                self._console.print(self._lines.popleft(), soft_wrap=True, highlight=False)
            if live is not None and self._newest is not None and self._newest is not drawn:
                drawn = self._newest
                live.update(self.drawing(drawn), refresh=True)

    def drawing(self, now: Picture) -> RenderableType:
        """The whole session as it is now."""
        width, height = self._console.size
        parts: list[RenderableType] = [self._progress(now), self._state(now)]
        rows = min(height - _TEXT_ROWS, _MOST_ROWS)
        if self._in_terminal and now.images and rows >= _FEWEST_ROWS and now.phase is not Phase.ENDED:
            parts.append(picture(now.images, width - 4, rows))
        if self._help and now.phase is not Phase.ENDED:
            parts.append(self._keys())
        return Panel(Group(*parts), title=self._title, title_align="left", border_style="dim")

    def _progress(self, now: Picture) -> RenderableType:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column()
        table.add_column(ratio=1)
        table.add_column(justify="right")
        counts = "  ".join(f"{name} {count}" for name, count in now.counts.items())
        number = min(now.kept + 1, now.wanted)
        head = f"[bold]episode {number} of {now.wanted}" if now.kept < now.wanted else "[bold]complete"
        table.add_row(
            head, ProgressBar(total=max(now.wanted, 1), completed=now.kept), f"kept {now.kept}  [dim]{counts}"
        )
        return table

    def _state(self, now: Picture) -> RenderableType:
        state = Text.assemble((f"● {now.phase}", f"bold {_COLOURS[now.phase]}"))
        if now.phase is Phase.RECORDING:
            state.append(f"   step {now.step}   {now.elapsed_s:.1f} s of {self._time_limit_s:g} s")
        lines: list[RenderableType] = [state]
        lines.append(
            Text(now.message or f"last: {now.last or 'none yet'}", "yellow" if now.message else "dim")
        )
        return Group(*lines)

    def _keys(self) -> RenderableType:
        shown = [Text.assemble((key, "bold"), " ", (what, "dim")) for key, what in self._help.items()]
        return Columns(shown, padding=(0, 3))
