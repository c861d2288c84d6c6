"""An actor is looked at from beside its control loop."""

from types import SimpleNamespace

import pytest

from agent.turns import ActorState, Observer
from journeyman import actor_watch
from journeyman.actor_watch import ActorWatch, EpisodeCounter
from journeyman.sinks import metrics


class Outlets:
    """Takes figures, and forgets nothing."""

    def __init__(self):
        self.points = []

    def write(self, step, values):
        self.points.append((step, values))


@pytest.fixture
def clients():
    return SimpleNamespace(known_steps=40, position=45, unacknowledged=3, seconds_since_contact=0.5)


def test_every_metric_of_an_actor_has_its_figure(clients, wait_until, monkeypatch):
    monkeypatch.setattr(actor_watch, "_PERIOD_S", 0.01)
    actor = SimpleNamespace(state=ActorState.LEARNING, policy_version=7)
    episodes, outlets = EpisodeCounter(Observer()), Outlets()
    episodes.on_episode({"ticks": 40, "missed_deadlines": 2, "worst_lateness_s": 0.01})
    watch = ActorWatch(actor, clients, episodes, outlets)
    wait_until(lambda: outlets.points)
    watch.close()
    watch.close()
    step, values = outlets.points[-1]
    assert step == 40
    assert metrics.ACTOR.keys() <= values.keys()
    assert values["actor/missed_deadlines"] == 2.0
    states = {name.rpartition("/")[2]: value for name, value in values.items() if "/state/" in name}
    assert {name for name, value in states.items() if value} == {"learning"}
    assert states.keys() == {str(state) for state in ActorState}


def test_who_was_told_before_is_told_still():
    told = []

    class Told(Observer):
        def on_state(self, state, why):
            told.append((state, why))

        def on_event(self, text):
            told.append(text)

        def on_episode(self, report):
            told.append(report)

    counter = EpisodeCounter(Told())
    counter.on_state(ActorState.PARKED, "gone")
    counter.on_event("parked")
    counter.on_episode({"episode": 3})
    assert told == [(ActorState.PARKED, "gone"), "parked", {"episode": 3}]
    assert (counter.episodes, counter.last) == (1, {"episode": 3})
