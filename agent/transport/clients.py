"""The ways of one actor to the learners of its agents, seen as one."""

from collections.abc import Mapping

from agent.transport.client import ActorClient
from agent.transport.messages import Report


class ClientGroup:
    """What is common to the clients of one actor. Steps are those of the run: of all agents together.

    Args:
        clients: By the name of the agent; at least one. Reports about the actor itself go by the first.
    """

    def __init__(self, clients: Mapping[str, ActorClient]) -> None:
        self._clients = tuple(clients.values())

    def raise_if_dead(self) -> None:
        """See `ActorClient`."""
        for client in self._clients:
            client.raise_if_dead()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the learner that is furthest behind has told something; return whether it has."""
        return min(self._clients, key=lambda client: client.step_allowance).wait(timeout_s)

    def report(self, values: Report) -> None:
        """Hand over values about the actor itself; see `ActorClient`."""
        self._clients[0].report(values)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the learners have stored everything; return whether they have."""
        stored = [client.flush(timeout_s) for client in self._clients]
        return False not in stored

    def close(self) -> None:
        """Leave; idempotent."""
        for client in self._clients:
            client.close()

    def wait_welcome(self, timeout_s: float) -> None:
        """See `ActorClient`."""
        for client in self._clients:
            client.wait_welcome(timeout_s)

    @property
    def position(self) -> int:
        """Grows with every transition and report that is handed over, in earlier processes of the run, too."""
        return sum(client.next_sequence for client in self._clients)

    @property
    def environment_steps(self) -> int:
        """Transitions the learners have stored from all actors, as far as they have told."""
        return sum(client.environment_steps for client in self._clients)

    @property
    def known_steps(self) -> int:
        """These, and what is handed over but not known to be stored."""
        return sum(client.known_steps for client in self._clients)

    @property
    def unacknowledged(self) -> int:
        """Transitions handed over that the learners are not known to have stored."""
        return sum(client.unacknowledged for client in self._clients)

    @property
    def step_allowance(self) -> int:
        """Environment step at which an actor in simulated time waits: none of the agents may be left behind."""
        return min(client.step_allowance for client in self._clients)

    @property
    def seconds_since_contact(self) -> float:
        """Time since the learner longest unheard was heard."""
        return max(client.seconds_since_contact for client in self._clients)

    @property
    def refusal(self) -> str | None:
        """Why one of the learners does not take the actor's items; see `ActorClient`."""
        return next((client.refusal for client in self._clients if client.refusal is not None), None)

    @property
    def no_room(self) -> str | None:
        """Why nothing more should be handed over now; see `ActorClient`."""
        return next((client.no_room for client in self._clients if client.no_room is not None), None)

    @property
    def stop_requested(self) -> bool:
        """Whether a learner asked its actors to end."""
        return any(client.stop_requested for client in self._clients)
