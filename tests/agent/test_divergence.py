"""A learner whose learning goes wrong: what it notices, what it goes back to, and when it gives up."""

import json
import math

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checkpoint import Checkpoints, load_checkpoint
from agent.config import InputError
from agent.demonstrations import Demonstrations
from agent.divergence import DivergedError, DivergenceConfig, LossWatch, not_finite
from agent.journal import Journal, JournalReader
from agent.learner import Learner
from agent.learner_config import LearnerConfig
from agent.prefetch import Prefetcher
from agent.reading import read_steps
from agent.replay import MixedSampler, ReplayBuffer
from agent.sac import SAC, SACConfig
from agent.sampling import SamplingConfig, draw_as
from agent.weights import decode_weights

CPU = torch.device("cpu")
STEPS, START = 100, 20


UNIFORM = SamplingConfig()


def watch(**config):
    return LossWatch(DivergenceConfig(**config))


def see_until_infinite(watching, loss, growth=1.0, times=10**6, reward=1.0):
    """Returns at once what was seen last when the watch raises."""
    for _ in range(times):
        loss *= growth
        if not math.isfinite(loss):
            break
        try:
            watching.see({"critic_loss": loss}, reward)
        except DivergedError as error:
            return loss, str(error)
    return None


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.floats(-6, 6), st.floats(0, 1.5), st.integers(100, 900)), min_size=1, max_size=4),
)
def test_losses_that_fall_jump_and_follow_the_scale_of_rewards_never_explode(seed, phases):
    """Each phase has rewards of another scale, to which losses belong that fall by six orders of magnitude."""
    rng, watching = np.random.default_rng(seed), watch()
    scales = np.maximum.accumulate([10.0**exponent for exponent, _, _ in phases])
    for scale, (_, noise, length) in zip(scales, phases, strict=True):
        level = scale**2 * 10.0 ** np.linspace(2, -4, length)
        for loss in level * np.exp(noise * rng.normal(size=length)):
            watching.see({"critic_loss": loss}, scale)
    assert not watching.in_doubt


@settings(max_examples=15, deadline=None)
@given(st.floats(-8, 8), st.floats(1.05, 10.0), st.sampled_from([-1.0, 1.0]))
def test_a_loss_that_grows_and_grows_is_noticed_before_it_is_infinite(exponent, growth, sign):
    watching, loss = watch(), 10.0**exponent
    for _ in range(500):
        watching.see({"critic_loss": sign * loss}, 1.0)
    noticed, told = see_until_infinite(watching, sign * loss, growth)
    assert "for 50 updates in a row" in told
    assert abs(noticed) <= loss * 1e6 * growth**52


def test_a_few_bad_batches_are_no_explosion():
    watching = watch()
    for step in range(1500):
        watching.see({"critic_loss": 1e12 if step > 500 and step % 60 < 49 else 1.0}, 1.0)
    assert see_until_infinite(watching, 2e6, times=49) is None
    assert see_until_infinite(watching, 2e6, times=1) is not None


def test_a_first_reward_begins_anew_and_a_smaller_one_does_not():
    watching = watch()
    for reward, loss in ((0.0, 1e-9), (1.0, 1.0), (0.1, 1.0)):
        for _ in range(550):
            watching.see({"critic_loss": loss}, reward)
    assert see_until_infinite(watching, 1e7, times=60, reward=1.9) is not None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(value):
    with pytest.raises(DivergedError, match=r"^value, loss is not finite$"):
        watch().see({"value": value, "critic_loss": 1.0, "loss": value}, 1.0)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"rollbacks": -1}, "rollbacks -1 must not be negative"),
        ({"patience": 0}, "patience 0 must"),
        ({"factor": 99}, "factor 99.* at least 100"),
        ({"factor": math.inf}, "factor inf must be a number"),
    ],
)
def test_nonsense_is_refused(bad, told):
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert({"divergence": bad}, LearnerConfig, strict=False)


class Wire:
    """A server without actors: what was published."""

    malformed_messages = 0

    def __init__(self):
        self.published = []
        self.reports = []

    def publish(self, version, payload):
        weights = decode_weights(payload)
        assert not not_finite(weights)
        self.published.append((version, weights))

    def poll(self):
        return None

    def poll_reports(self):
        reports, self.reports = self.reports, []
        return reports

    def wait(self, timeout_s):
        return False

    def actors(self):
        return []

    def set_progress(self, *_):
        pass

    malformed_messages = messages_over_limits = 0
    raise_if_dead = sync = lambda self: None
    stop_actors = set_progress


class Fragile(SAC):
    """Fails where it is told to: `broken` is asked before each update, and says what to break."""

    def __init__(self, spec):
        config = SACConfig(hidden_sizes=(8,), batch_size=8, utd_ratio=2, compile=False)
        super().__init__(config, spec, CPU, 0)
        self.broken = lambda: None
        self.seen = []

    def update(self, batch):
        self.seen.append(batch["observation.state"].clone())
        breaks = self.broken()
        metrics = super().update(batch)
        if breaks is not None:
            metrics |= breaks(self) or {}
        return metrics


def loses_its_mind(algorithm):
    """What a step with an infinite gradient leaves: the loss was finite."""
    with torch.no_grad():
        for parameter in algorithm.actor.parameters():
            parameter.fill_(torch.nan)


def loses_all(algorithm):
    loses_its_mind(algorithm)
    return {"critic_loss": math.nan}


def explodes(algorithm):
    with torch.no_grad():
        algorithm.log_temperature.fill_(7.0)
    return {"critic_loss": 1e20}


@pytest.fixture
def soon_known(monkeypatch):
    """The level of losses is known after fifty."""
    monkeypatch.setattr("agent.divergence._KNOWN_AFTER", 50)


class Rig:
    """A learner that owes `STEPS - START` blocks from the beginning."""

    def __init__(self, folder, spec, records, sampling=UNIFORM, ahead=False, **config):
        self.algorithm, self.wire = Fragile(spec), Wire()
        replay = ReplayBuffer(spec, 1000, 0)
        shown = Demonstrations(spec, records[:0], 10, 1)
        read = draw_as(sampling, replay, shown, records[:0], read_steps, STEPS)
        self.replay = replay
        sampler = MixedSampler(spec, replay, shown, 0.0, CPU, read)
        sampler.append(records)
        plain = {"max_environment_steps": STEPS, "start_steps": START, "checkpoint_every": 50}
        self.checkpoints = Checkpoints(folder / "checkpoints", 100)
        self.journal = folder / "journal.jsonl"
        self.prefetcher = Prefetcher(sampler, ahead)
        self.learner = Learner(
            LearnerConfig(**{**plain, **config}), self.algorithm, self.prefetcher, self.wire, self.checkpoints,
            Journal(self.journal),
        )  # fmt: skip

    def fail_at(self, blocks, how):
        """At each of these calls of `update`."""
        self.algorithm.broken = lambda: how if len(self.algorithm.seen) in blocks else None

    def rollbacks(self):
        return [entry for entry in JournalReader(self.journal).new() if entry["kind"] == "rollback"]

    def check_checkpoints(self):
        for path in self.checkpoints.all():
            assert not not_finite(load_checkpoint(path)[0])


@pytest.fixture
def make(tmp_path, spec, make_records):
    records = make_records(STEPS, episode=np.arange(STEPS) // 10, step=np.arange(STEPS) % 10)
    return lambda name="run", **config: Rig(tmp_path / name, spec, records, **config)


def same(state, other):
    return all(torch.equal(state[name], other[name]) for name in state.keys() | other.keys())


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("how", [loses_all, loses_its_mind])
def test_what_goes_wrong_once_is_undone_and_made_up_for_with_other_batches(make, how, ahead):
    rig = make(ahead=ahead)
    rig.fail_at([43], how)
    assert rig.learner.run()
    seen = rig.algorithm.seen
    [entry] = rig.rollbacks()
    assert "is not finite after" in entry["message"]
    assert entry["updates"] >= 2 * 43 > entry["to_updates"]
    assert rig.learner.updates == 2 * (STEPS - START)
    assert len(seen) == STEPS - START + (entry["updates"] - entry["to_updates"]) // 2
    assert len({batch.numpy().tobytes() for batch in seen}) == len(seen)
    assert not not_finite(rig.algorithm.state_dict())
    assert len(rig.wire.published) >= 8
    rig.check_checkpoints()
    assert load_checkpoint(rig.checkpoints.newest())[1]["blocks"] == STEPS - START


def test_before_the_first_checkpoint_it_goes_back_to_where_it_began(make):
    rig, before = make(checkpoint_every=10**6), []
    beginning = rig.algorithm.state_dict()
    rig.fail_at([30], loses_all)
    broken = rig.algorithm.broken

    def look():
        if len(rig.algorithm.seen) == 31:
            before.append(rig.algorithm.state_dict())
        return broken()

    rig.algorithm.broken = look
    assert rig.learner.run()
    assert same(before[0], beginning)
    assert "goes on from where it began" in rig.rollbacks()[0]["message"]
    assert rig.rollbacks()[0]["to_updates"] == 0


@pytest.mark.parametrize("rollbacks", [0, 2])
def test_what_goes_wrong_again_and_again_ends_with_one_sentence(make, rollbacks):
    rig = make(divergence=DivergenceConfig(rollbacks=rollbacks))
    rig.algorithm.broken = lambda: loses_all if rig.learner.updates >= 100 else None
    with pytest.raises(DivergedError) as error:
        rig.learner.run()
    assert str(error.value).startswith("Learning diverged: critic_loss is not finite after 102 updates")
    assert str(error.value).count(". ") == 0
    assert ("after going back 2 times" in str(error.value)) == (rollbacks == 2)
    assert len(rig.rollbacks()) == rollbacks
    rig.check_checkpoints()
    assert max(version for version, _ in rig.wire.published) <= 50


def test_only_rollbacks_that_lead_no_further_are_counted(make):
    """Far more failures than are allowed, each further than the last, with checkpoints between them."""
    rig = make(checkpoint_every=1)
    rig.learner._safe._saved_at = -(10**9)  # Every step of this rig is there from the beginning.
    places = iter(range(15, 80, 15))
    place = [next(places)]

    def broken():
        rig.learner._safe._saved_at = -1
        if rig.learner.updates // 2 >= place[0]:
            place[0] = next(places, 10**9)
            return loses_all
        return None

    rig.algorithm.broken = broken
    assert rig.learner.run()
    assert len(rig.rollbacks()) == 5


def test_an_explosion_is_undone_and_nothing_of_it_is_saved_or_published(make, soon_known):
    rig = make(divergence=DivergenceConfig(patience=5), start_steps=1, publish_every=1)
    rig.fail_at(range(71, 76), explodes)
    saves = []
    save = rig.checkpoints.save

    def counted(steps, tensors, *rest):
        assert tensors["log_temperature"] != 7.0
        saves.append(steps)
        return save(steps, tensors, *rest)

    rig.checkpoints.save = counted
    assert rig.learner.run()
    [entry] = rig.rollbacks()
    assert "critic_loss is 1e+20" in entry["message"]
    assert [version for version, _ in rig.wire.published[:71]] == list(range(71))  # Those in doubt are not.
    assert saves


def test_nothing_is_saved_at_an_end_in_doubt(make, soon_known):
    rig = make(start_steps=1)
    rig.fail_at([71], lambda algorithm: rig.learner.request_stop() or explodes(algorithm))
    assert not rig.learner.run()
    assert all(load_checkpoint(path)[1]["blocks"] < 71 for path in rig.checkpoints.all())


def test_a_checkpoint_that_is_not_finite_is_passed_over(make):
    rig = make()
    rig.learner.run()
    good = rig.checkpoints.newest()
    tensors, values = load_checkpoint(good)
    name = next(name for name in tensors if name.startswith("critic."))
    tensors[name].view(-1)[0] = torch.nan
    rig.checkpoints.save(STEPS + 1, tensors, {}, {**values, "blocks": 7})
    again = make()
    assert again.learner.resume()
    assert again.learner.updates == 2 * (STEPS - START)
    assert same(again.algorithm.state_dict(), load_checkpoint(good)[0])


@pytest.mark.parametrize("how", [loses_all, loses_its_mind])
def test_errors_of_what_was_undone_do_not_touch_how_batches_are_drawn(make, how):
    rig = make(sampling=SamplingConfig(kind="prioritised"))
    rig.fail_at([43], how)
    assert rig.learner.run()
    assert len(rig.rollbacks()) == 1
    rows = rig.replay.rows()
    assert np.isfinite(rig.replay.priorities.weights(rows, 0.5)).all()


def test_where_nothing_goes_wrong_nothing_changes(make):
    """The watch and the way back cost no random number: allowed or not, the same networks to the bit."""
    states = []
    for name, divergence in (("a", DivergenceConfig()), ("b", DivergenceConfig(rollbacks=0, factor=1e30))):
        rig = make(name, divergence=divergence)
        assert rig.learner.run()
        states.append(rig.algorithm.state_dict())
    assert same(*states)
    assert not rig.rollbacks()


def test_the_journal_stays_json(make):
    rig = make()
    rig.fail_at([43], loses_all)
    rig.learner.run()

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    for line in rig.journal.read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_damaged_checkpoint_is_still_an_error(make):
    rig = make()
    rig.learner.run()
    (rig.checkpoints.newest() / "state.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="damaged"):
        make().learner.resume()


def test_an_actor_that_refuses_a_policy_is_given_a_newer_one_at_once(make):
    rig = make(publish_every=1000)

    def complain():
        if len(rig.algorithm.seen) == 33:
            rig.wire.reports.append({"kind": "policy_refused", "message": "no"})

    rig.algorithm.broken = complain
    assert rig.learner.run()
    assert [version for version, _ in rig.wire.published] == [0, 33]
    [entry] = [e for e in JournalReader(rig.journal).new() if e["kind"] == "policy_refused"]
    assert entry["message"] == "no"
