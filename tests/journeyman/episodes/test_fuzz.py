"""A thousand ways to spoil an episode: what is read is the original or its beginning, or else it is refused."""

import random
import resource
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer

from controllers.config import InputError
from journeyman.cli import main
from robot_env.episodes import read_episode

MUTATIONS = 1000
STEPS = 3


@pytest.fixture(scope="module")
def original(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("original") / "0000.mcap"
    # The same bytes in every run, so that a finding can be found again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time_ns", lambda: 10**18)
        record(path, steps=STEPS, cameras=("wrist",), intervened=(2,))
    return path


# Of bytes.


def truncate(data, rng):
    return data[: rng.randrange(len(data))]


def flip_bits(data, rng):
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def set_bytes(data, rng):
    spoilt = bytearray(data)
    start = rng.randrange(len(data))
    count = min(rng.choice((1, 4, 8, 64)), len(data) - start)
    spoilt[start : start + count] = rng.choice((bytes(count), b"\xff" * count, rng.randbytes(count)))
    return bytes(spoilt)


def cut_out(data, rng):
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 9, 100, 1000)) :]


def repeat(data, rng):
    start = rng.randrange(len(data))
    end = start + rng.choice((1, 9, 100, 1000))
    return data[:end] + data[start:]


def flip_and_truncate(data, rng):
    return truncate(flip_bits(data, rng), rng)


# Of messages: a file that is sound as MCAP, with all its checksums anew.


def rewritten(data, change):
    """The file with its list of messages changed; metadata stay as they are."""
    reader = make_reader(BytesIO(data))
    messages, metadata = list(reader.iter_messages(log_time_order=False)), list(reader.iter_metadata())
    change(messages)
    target = BytesIO()
    writer = Writer(target, enable_data_crcs=True)
    writer.start(profile="ros2")
    channels = {}
    for schema, channel, message in messages:
        if channel.topic not in channels:
            number = writer.register_schema(schema.name, schema.encoding, schema.data)
            channels[channel.topic] = writer.register_channel(channel.topic, "cdr", number)
        stamps = message.log_time, message.publish_time
        writer.add_message(channels[channel.topic], stamps[0], message.data, stamps[1], message.sequence)
    for one in metadata:
        writer.add_metadata(one.name, dict(one.metadata))
    writer.finish()
    return target.getvalue()


def drop_messages(data, rng):
    def change(messages):
        for _ in range(rng.choice((1, 1, 3, 15))):
            messages.pop(rng.randrange(len(messages)))

    return rewritten(data, change)


def drop_a_topic(data, rng):
    def change(messages):
        topic = rng.choice(sorted({channel.topic for _, channel, _ in messages}))
        messages[:] = [one for one in messages if one[1].topic != topic]

    return rewritten(data, change)


def duplicate_a_message(data, rng):
    return rewritten(
        data, lambda messages: messages.insert(rng.randrange(len(messages)), rng.choice(messages))
    )


def reorder_messages(data, rng):
    def change(messages):
        first, second = rng.randrange(len(messages)), rng.randrange(len(messages))
        messages[first], messages[second] = messages[second], messages[first]

    return rewritten(data, change)


def lose_the_end(data, rng):
    def change(messages):
        del messages[rng.randrange(len(messages)) :]

    return rewritten(data, change)


KINDS = (
    truncate,
    flip_bits,
    flip_bits,
    set_bytes,
    cut_out,
    repeat,
    flip_and_truncate,
    drop_messages,
    drop_a_topic,
    duplicate_a_message,
    reorder_messages,
    lose_the_end,
)


def same_beginning(episode, whole):
    """Whether all that an episode says is what the original says of as many steps."""
    steps = len(episode.actions)
    acted = ("actions", "rewards", "terminated", "truncated", "intervened", "provenance")
    pairs = [(getattr(episode, name), getattr(whole, name)[:steps]) for name in acted]
    pairs.append((episode.elapsed_s, whole.elapsed_s[: steps + 1]))
    for ours, theirs in ((episode.observations, whole.observations), (episode.robot, whole.robot)):
        if ours.keys() != theirs.keys():
            return False
        pairs += [(ours[key], theirs[key][: steps + 1]) for key in theirs]
    return episode.metadata == whole.metadata and all(a.tobytes() == b.tobytes() for a, b in pairs)


def read(path, whole, *, allow_unfinished):
    """How reading ends."""
    try:
        episode = read_episode(path, allow_unfinished=allow_unfinished)
    except InputError as error:
        complaint = str(error)
    else:
        assert same_beginning(episode, whole)
        if episode.success is None:
            assert allow_unfinished
            return "beginning"
        assert len(episode.actions) == len(whole.actions)
        assert episode.success is whole.success
        return "whole"
    assert str(path) in complaint
    assert "\n" not in complaint
    return "refused"


@pytest.mark.slow
def test_no_damage_goes_unnoticed(tmp_path, original, capsys):
    data, whole = original.read_bytes(), read_episode(original)
    read_episode(original, allow_unfinished=True)
    folder = tmp_path / "spoilt"
    folder.mkdir()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[tuple[str, str]] = Counter()
    expected = Counter[str]()
    for number in range(MUTATIONS):
        rng = random.Random(number)
        kind = KINDS[number % len(KINDS)]
        path = folder / f"{number:04d}.mcap"
        path.write_bytes(kind(data, rng))
        strict = read(path, whole, allow_unfinished=False)
        lenient = read(path, whole, allow_unfinished=True)
        assert strict == lenient or strict == "refused"
        outcomes[kind.__name__, lenient] += 1
        expected[lenient] += 1

        code = main(["episodes", "inspect", str(path)])
        shown = capsys.readouterr()
        assert code == {"whole": 0, "beginning": 1, "refused": 2}[lenient], shown
        if lenient == "refused":
            assert shown.err.count("\n") == 1
            assert str(path) in shown.err
        else:
            assert ("Not a whole episode" in shown.out) == (lenient == "beginning")
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb < 300_000

    assert main(["episodes", "list", str(folder), f"json={tmp_path / 'list.json'}"]) == 0
    totals = f"{expected['whole']} whole episodes"
    besides = f"{expected['beginning']} unfinished or damaged, {expected['refused']} unreadable"
    shown = capsys.readouterr().out
    assert totals in shown
    assert besides in shown
    # The mutations reach all outcomes, or the assertions above would say little.
    assert set(expected) == {"whole", "beginning", "refused"}
    assert min(expected.values()) > 50
    print(*sorted(outcomes.items()), sep="\n")


def test_what_lists_and_reads_as_whole_is_bit_for_bit_the_original(tmp_path, original):
    """Messages of different topics may be in any order: they are put together by their numbers."""
    data, whole = original.read_bytes(), read_episode(original)

    def by_topic(messages):
        messages.sort(key=lambda one: (one[1].topic, one[2].sequence))

    path = tmp_path / "0000.mcap"
    path.write_bytes(rewritten(data, by_topic))
    assert same_beginning(read_episode(path), whole)
    assert np.array_equal(read_episode(path).observations["wrist"], whole.observations["wrist"])
