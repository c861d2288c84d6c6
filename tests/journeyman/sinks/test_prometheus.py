"""What Prometheus is answered."""

import socket
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import InputError
from journeyman.config import compose
from journeyman.sinks import metrics
from journeyman.sinks.assembly import make_sinks
from journeyman.sinks.prometheus import make
from journeyman.sinks.sink import Outlets

parser = pytest.importorskip("prometheus_client.parser")


@contextmanager
def opened(process="learner"):
    sink = make({"port": 0, "actor_port": 0}, None, process)
    sink.open()
    try:
        yield sink
    finally:
        sink.close()


def scrape(sink):
    """Of the metrics by name, labels and value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{sink.port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_newest_figures_are_answered():
    with opened() as sink:
        assert scrape(sink) == {}
        sink.write(40, {"learner/updates": 7.0, "learner/critic_loss": 0.5, "run/free_disk_bytes": 9.0})
        sink.write(50, {"learner/updates": 8.0, "learner.back/updates": 3.0, "episode/return": -2.0})
        sink.write(51, {"fault/happened": 1.0})
        sink.write(52, {"fault/happened": 1.0, "something/else": 1.0, "rollback.back/happened": 1.0})
        found = scrape(sink)
    assert found.pop(("journeyman_last_figures_timestamp_seconds",)) > 1e9
    none, back = ("agent", ""), ("agent", "back")
    assert found == {
        ("journeyman_updates_total", none): 8.0,
        ("journeyman_updates_total", back): 3.0,
        ("journeyman_learning", none, ("figure", "critic_loss")): 0.5,
        ("journeyman_free_disk_bytes", none): 9.0,
        ("journeyman_episode_return", none): -2.0,
        ("journeyman_events_total", none, ("kind", "fault")): 2.0,
        ("journeyman_events_total", back, ("kind", "rollback")): 1.0,
    }


def test_the_offline_phase_is_the_learners():
    with opened() as sink:
        sink.write(30, {"offline/updates_per_s": 90.0, "offline/loss": 1.0})
        found = scrape(sink)
    assert found["journeyman_offline_updates_total", ("agent", "")] == 30
    assert found["journeyman_updates_per_second", ("agent", "")] == 90.0
    assert found["journeyman_learning", ("agent", ""), ("figure", "loss")] == 1.0


def test_an_actor_says_what_it_does():
    with opened("actor") as sink:
        sink.write(3, {"actor/missed_deadlines": 2.0, "actor/state/learning": 1.0, "actor/state/parked": 0.0})
        found = scrape(sink)
    assert found["journeyman_actor_missed_deadlines_total",] == 2.0
    assert found["journeyman_actor_state", ("state", "learning")] == 1.0
    assert found["journeyman_actor_state", ("state", "parked")] == 0.0


NAMES = (
    st.sampled_from(sorted({*metrics.LEARNER, *metrics.ACTOR})) | st.text(max_size=12) | st.just("learner/ü")
)


@settings(max_examples=8)
@given(points=st.lists(st.dictionaries(NAMES, st.floats(), min_size=1, max_size=8), max_size=4))
def test_no_figure_spoils_the_answer(points):
    with opened() as sink:
        for step, values in enumerate(points):
            sink.write(step, values)
        scrape(sink)


def test_names_are_unlike_and_in_good_form():
    every = [*metrics.LEARNER.values(), *metrics.ACTOR.values(), metrics.LEARNING, metrics.STATE]
    every += [metrics.EVENTS, metrics.OFFLINE, metrics.WRITTEN]
    names = [metric.name for metric in every]
    assert len(set(names)) == len(names)
    assert not [metric for metric in every if metric.name.endswith("_total") or not metric.help.endswith(".")]


def test_the_page_names_every_metric():
    page = (Path(__file__).parents[3] / "docs/observing.md").read_text()
    every = [*metrics.LEARNER.values(), *metrics.ACTOR.values(), metrics.LEARNING, metrics.STATE]
    every += [metrics.EVENTS, metrics.OFFLINE, metrics.WRITTEN]
    names = [f"{metric.name}_total" if metric.counter else metric.name for metric in every]
    assert not [name for name in names if f"`{name}`" not in page and f"`{name}{{" not in page]


def test_a_port_in_use_is_told_and_the_run_goes_on():
    told = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outlets = Outlets({"prometheus": make({"port": port}, None, "learner")}, told.append)
        outlets.write(1, {"learner/updates": 1.0})
        outlets.close()
    (sentence,) = told
    assert f"127.0.0.1:{port}" in sentence
    assert "in use" in sentence


def test_it_is_off_and_on_this_machine_only_unless_asked(tmp_path):
    assert "prometheus" not in compose([]).sink
    config = compose(["sink=[tensorboard,prometheus]"])
    learner, actor = (make_sinks(config, tmp_path, process) for process in ("learner", "actor"))
    assert list(learner) == ["tensorboard", "prometheus"]
    assert list(actor) == ["prometheus"]
    assert learner["prometheus"]._options.address == "127.0.0.1"
    assert (learner["prometheus"].port, actor["prometheus"].port) == (9464, 9465)


@pytest.mark.parametrize("config", [{"port": 70000}, {"prot": 1}])
def test_options_that_mean_nothing_are_refused(config):
    with pytest.raises(InputError, match=r"sink\.prometheus\.config"):
        make(config, None, "learner")
