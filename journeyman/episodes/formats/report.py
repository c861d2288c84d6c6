"""What a conversion kept and what it did not, one sentence each."""

from collections.abc import Callable


class Report:
    """Collects the sentences and says them as they come.

    Attributes:
        kept: How many episodes were written.
        dropped: What was left out, one sentence each.
        notes: What is not as it was, or was assumed, one sentence each; nothing is said twice.
    """

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self.kept = 0
        self.dropped: list[str] = []
        self.notes: list[str] = []
        self._say = say

    def keep(self, name: str, steps: int, success: bool) -> None:
        """An episode was written whole."""
        self.kept += 1
        self._say(f"kept     {name}: {steps} steps, {'success' if success else 'no success'}")

    def drop(self, what: str) -> None:
        """Something was left out."""
        self.dropped.append(what)
        self._say(f"dropped  {what}")

    def note(self, what: str) -> None:
        """Something is not as it was."""
        if what not in self.notes:
            self.notes.append(what)
            self._say(f"note     {what}")
