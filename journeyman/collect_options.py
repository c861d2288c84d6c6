"""Options of `journeyman collect` that no run has."""

from typing import Literal

from agent.config import Config


class CollectOptions(Config):
    """What only a session of recording has.

    Attributes:
        view: Where a person sees what the robot sees.
        keep_failures: Whether failures are kept among the episodes, and count; otherwise those of a person go to a
            folder beside them, and those of a script are recorded again.
        time_limit_s: Longest episode of a person; a script has the task's.
    """

    view: Literal["auto", "terminal", "window", "none"] = "auto"
    keep_failures: bool = False
    time_limit_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what leaves no time."""
        if not 0.0 < self.time_limit_s < float("inf"):
            raise ValueError(f"time_limit_s {self.time_limit_s} must be positive and finite")
