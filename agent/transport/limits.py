"""How much anybody may ask of the learner. Far above what an honest actor needs, and what it exceeds it sends again."""

import time
from collections import OrderedDict
from enum import Enum

from agent.config import Config

_BURST_S = 2.0
_REMEMBERED = 1024


class Limits(Config):
    """What a learner takes from its actors.

    Attributes:
        actors: Most actors at a time.
        messages_per_s: Most messages of one connection, or of one key; twice as many at once.
        megabytes_per_s: Most data of one connection, or of one key; twice as much at once.
    """

    actors: int = 64
    messages_per_s: float = 4000.0
    megabytes_per_s: float = 500.0

    def __post_init__(self) -> None:
        """Refuse what would shut out every actor."""
        if self.actors < 1 or not self.messages_per_s >= 10 or not self.megabytes_per_s >= 1:
            raise ValueError(
                f"limits.actors {self.actors} must be at least 1, messages_per_s {self.messages_per_s} at least 10 and "
                f"megabytes_per_s {self.megabytes_per_s} at least 1"
            )


class Allowance:
    """So many per second, so many at once."""

    __slots__ = ("_left", "_most", "_per_s", "_since_s")

    def __init__(self, per_s: float, most: float) -> None:
        self._per_s = per_s
        self._most = self._left = most
        self._since_s = time.monotonic()

    def take(self, amount: float = 1.0) -> bool:
        """Whether there was something left; then `amount` is taken, if need be on credit."""
        self._refill()
        if self._left <= 0:
            return False
        self._left -= amount
        return True

    @property
    def is_rested(self) -> bool:
        """Whether half of it is there again."""
        self._refill()
        return self._left >= self._most / 2

    def _refill(self) -> None:
        now_s = time.monotonic()
        self._left = min(self._most, self._left + (now_s - self._since_s) * self._per_s)
        self._since_s = now_s


class Verdict(Enum):
    """What is done with a message."""

    TAKEN = "within the limits"
    FIRST_OVER = "dropped: the first over the limits, whose sender is told"
    DROPPED = "dropped: its sender was told, and has not been silent for long enough"


class _Account:
    """What one sender has left."""

    __slots__ = ("bytes", "is_closed", "messages")

    def __init__(self, limits: Limits) -> None:
        self.messages = Allowance(limits.messages_per_s, _BURST_S * limits.messages_per_s)
        self.bytes = Allowance(limits.megabytes_per_s * 1e6, _BURST_S * limits.megabytes_per_s * 1e6)
        self.is_closed = False


class Rates:
    """Judges every message before it is decoded. Knows a bounded number of senders, whoever comes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: OrderedDict[bytes | str, _Account] = OrderedDict()

    def judge(self, sender: bytes | str, size: int) -> Verdict:
        """Whether a message of `size` bytes is taken.

        One over the limits closes its sender's account, until half of what it may send at once has come together again.
        """
        account = self._account(sender)
        if account.is_closed:
            if not (account.messages.is_rested and account.bytes.is_rested):
                return Verdict.DROPPED
            account.is_closed = False
        if account.messages.take() and account.bytes.take(size):
            return Verdict.TAKEN
        account.is_closed = True
        return Verdict.FIRST_OVER

    def _account(self, sender: bytes | str) -> _Account:
        account = self._accounts.get(sender)
        if account is None:
            account = self._accounts[sender] = _Account(self._limits)
            if len(self._accounts) > _REMEMBERED:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(sender)
        return account
