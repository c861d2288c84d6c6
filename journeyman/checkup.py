"""What a check of this machine says; `journeyman doctor` makes them."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended. Only FAIL keeps `journeyman train` from working."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was looked at.
        verdict: How it ended.
        finding: What was found.
        fix: What to do about it; empty if nothing has to be done.
    """

    name: str
    verdict: Verdict
    finding: str
    fix: str = ""
