"""The latch of an emergency stop that anybody may pull and only a human may release."""

from collections.abc import Collection, Set


class EmergencyStop:
    """Latched from the first time that somebody says so.

    Attributes:
        reason: Why it is latched; empty when it is not.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._says: dict[bytes, bool] = {}

    @property
    def heard(self) -> Set[bytes]:
        """Sources that said anything."""
        return self._says.keys()

    def hear(self, source: bytes, stop: bool, now: str = "somebody asked for it") -> None:
        """Take in what a source says.

        Args:
            source: Identifies it.
            stop: Whether it wants the arm stopped. False releases nothing; it only stops to insist.
            now: Why, for people.
        """
        self._says[source] = stop
        if stop and not self.reason:
            self.reason = now

    def reset(self, alive: Collection[bytes] | None = None) -> str:
        """Release it: for a human's explicit act only.

        Args:
            alive: Sources that still exist; what the others said counts no longer. None if nobody knows.

        Returns:
            Why it stays latched, in a sentence; empty if it was released.
        """
        if alive is not None:
            self._says = {source: stop for source, stop in self._says.items() if source in alive}
        insisting = sum(self._says.values())
        if insisting:
            return (
                f"{insisting} publisher{'s' if insisting > 1 else ''} of the emergency stop still "
                f"say{'' if insisting > 1 else 's'} true: release there first, by publishing false."
            )
        self.reason = ""
        return ""
