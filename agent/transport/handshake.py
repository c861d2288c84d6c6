"""Whether an actor and a learner fit together; if not, which field differs."""

from agent.transition import differing_fields, differing_layout
from agent.transport.messages import PROTOCOL_VERSION, Hello

_SHOWN = 5  # Differences; those of two tasks fill a screen.


def mismatch(hello: Hello, spec: dict[str, str], task: dict[str, str], stored_below: int) -> str | None:
    """Why the actor that sent `hello` can never send to this learner, None if it can.

    Args:
        hello: The actor's introduction.
        spec: The learner's layout of records.
        task: The learner's task.
        stored_below: The learner has every item of the actor's stream below this number.
    """
    if hello.protocol_version != PROTOCOL_VERSION:
        return (
            f"The learner speaks protocol version {PROTOCOL_VERSION}, actor {hello.actor!r} speaks "
            f"{hello.protocol_version}; install the same version of journeyman on both."
        )
    differences = differing_layout(spec, hello.spec)
    differences += [f"task {line}" for line in differing_fields(task, hello.task)]
    if differences:
        # What is short says most; what differs of two tasks follows from their being two.
        shown = sorted(differences, key=lambda line: (not line.startswith("task task.name:"), len(line)))[
            :_SHOWN
        ]
        more = f"; and {len(differences) - len(shown)} more" if len(differences) > len(shown) else ""
        return (
            f"Actor {hello.actor!r} (there) does not match the learner (here): {'; '.join(shown)}{more}; "
            "start both with the same task, robot and configuration."
        )
    if stored_below > hello.sent_below:
        # New items would get numbers that the learner takes for old ones, and be dropped in silence.
        return (
            f"The spool of actor {hello.actor!r} ends at item {hello.sent_below}, but the learner has stored "
            f"{stored_below} items of it (did the actor's machine lose power?); "
            "remove the spool folder and start the actor again."
        )
    return None
