"""Figures of an actor for its sinks: looked at from beside the control loop, which does nothing for it."""

import threading
from typing import Any

from agent.actor import Actor
from agent.transport.clients import ClientGroup
from agent.turns import ActorState, Observer
from journeyman.sinks.sink import Outlets

_PERIOD_S = 1.0
_OF_EPISODES = ("ticks", "missed_deadlines", "worst_lateness_s")


class EpisodeCounter(Observer):
    """Passes everything on, and remembers the last episode.

    Args:
        observer: Who is told.

    Attributes:
        episodes: How many were finished.
        last: Report of the last one.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.episodes = 0
        self.last: dict[str, Any] = {}

    def on_state(self, state: ActorState, why: str) -> None:
        """See `Observer`."""
        self._observer.on_state(state, why)

    def on_event(self, text: str) -> None:
        """See `Observer`."""
        self._observer.on_event(text)

    def on_episode(self, report: dict[str, Any]) -> None:
        """See `Observer`."""
        self.episodes, self.last = self.episodes + 1, report
        self._observer.on_episode(report)


class ActorWatch:
    """Looks at an actor once a second, on a thread of its own, until it is closed.

    Args:
        actor: Who is looked at.
        clients: Its ways to the learners.
        episodes: What it did.
        outlets: Where figures go.
    """

    def __init__(
        self, actor: Actor, clients: ClientGroup, episodes: EpisodeCounter, outlets: Outlets
    ) -> None:
        self._actor = actor
        self._clients = clients
        self._episodes = episodes
        self._outlets = outlets
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="actor-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; idempotent."""
        self._ending.set()
        self._thread.join()

    def look(self) -> None:
        """Hand over what there is to see now."""
        actor, clients, episodes = self._actor, self._clients, self._episodes
        state, last = actor.state, episodes.last
        figures: dict[str, float] = {
            "actor/environment_steps": clients.known_steps,
            "actor/items": clients.position,
            "actor/unacknowledged": clients.unacknowledged,
            "actor/policy_version": actor.policy_version,
            "actor/seconds_since_contact": clients.seconds_since_contact,
            "actor/episodes": episodes.episodes,
        }
        figures |= {f"actor/{name}": float(last[name]) for name in _OF_EPISODES if name in last}
        figures |= {f"actor/state/{each}": float(each is state) for each in ActorState}
        self._outlets.write(clients.known_steps, figures)

    def _run(self) -> None:
        while not self._ending.wait(_PERIOD_S):
            self.look()
