"""Who commands an arm. Two at once are worse than none: the arm would jerk between what they want."""

# A commander that was silent for this long may be replaced, as an actor is that was restarted.
_REPLACED_AFTER_S = 0.5
_SOMEBODY_ELSE = b"somebody else"


class Commanders:
    """Remembers who sent commands lately, on which stream.

    A commander has one publisher on each stream (one for poses, one for joints, one for the gripper). The publishers of
    one process have identifiers that begin alike.

    Args:
        process_bytes: How many bytes of an identifier tell the process: 12 in every DDS. 0 if none do; then two that
            command by different streams go unnoticed.
    """

    def __init__(self, process_bytes: int = 12) -> None:
        self._process_bytes = process_bytes
        self._heard_s: dict[tuple[str, bytes], float] = {}

    def hear(self, stream: str, publisher: bytes, now_s: float, *, alone: bool = True) -> None:
        """Take in that a message came.

        Args:
            stream: On which topic.
            publisher: Identifies who sent it; empty if the middleware does not say.
            now_s: When.
            alone: False if there are several publishers and the middleware does not say which it was.
        """
        self._heard_s[stream, publisher] = now_s
        if not alone:
            self._heard_s[stream, _SOMEBODY_ELSE] = now_s

    def conflict(self, now_s: float) -> str:
        """What is wrong, in a few words, if more than one commanded lately; empty otherwise."""
        # Both bounds: a clock that was set back must not keep anybody.
        self._heard_s = {
            who: at for who, at in self._heard_s.items() if 0.0 <= now_s - at <= _REPLACED_AFTER_S
        }
        streams = [stream for stream, _ in self._heard_s]
        processes = {publisher[: self._process_bytes] for _, publisher in self._heard_s}
        if len(set(streams)) == len(streams) and len(processes) <= 1:
            return ""
        return f"more than one commander on {' and '.join(sorted(set(streams)))}"
