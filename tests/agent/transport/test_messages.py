import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.transport import messages as m

STREAM = bytes(range(16))
FROM_ACTOR = [
    (m.Hello(m.PROTOCOL_VERSION, "actor-0", STREAM, {"action": "<f4[4]"}, {"name": "reach"}, 3, 7), None),
    (m.Transitions(STREAM, 3, 2), b"records"),
    (m.EpisodeReport(STREAM, 5), b"report"),
    (m.WeightsRequest(-1), None),
    (m.Heartbeat(), None),
    (m.Goodbye(), None),
]
FROM_LEARNER = [
    (m.Welcome(bytes(16), STREAM, 3, 100, 20, 120, STREAM), None),
    (m.Refused("no", True), None),
    (m.HelloWanted(), None),
    (m.Acknowledge(3, 100, 20, 120), None),
    (m.Resend(3), None),
    (m.Weights(7), b"weights"),
    (m.Stop("done"), None),
]


def frames(message: m.Message, payload: bytes | None) -> list[bytes]:
    return [m.encode(message)] + ([] if payload is None else [payload])


@pytest.mark.parametrize(("message", "payload"), FROM_ACTOR)
def test_actor_messages_come_back_unchanged(message, payload):
    assert m.decode_from_actor(frames(message, payload)) == (message, payload or b"")


@pytest.mark.parametrize(("message", "payload"), FROM_LEARNER)
def test_learner_messages_come_back_unchanged(message, payload):
    assert m.decode_from_learner(frames(message, payload)) == (message, payload or b"")


@pytest.mark.parametrize(("message", "payload"), FROM_LEARNER)
def test_nobody_is_taken_for_the_other_side(message, payload):
    with pytest.raises(m.MalformedMessageError):
        m.decode_from_actor(frames(message, payload))


@pytest.mark.parametrize(("message", "payload"), FROM_ACTOR)
def test_a_frame_too_many_or_too_few_is_malformed(message, payload):
    whole = frames(message, payload)
    for wrong in ([*whole, b""], whole[:-1]):
        with pytest.raises(m.MalformedMessageError):
            m.decode_from_actor(wrong)


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_random_bytes_are_malformed_or_a_message(received):
    try:
        message, _ = m.decode_from_actor(received)
    except m.MalformedMessageError:
        return
    assert isinstance(message, m.Message)


@given(st.sampled_from(FROM_ACTOR), st.data())
def test_damaged_messages_are_malformed_or_a_message(valid, data):
    head, *rest = frames(*valid)
    at = data.draw(st.integers(0, len(head) - 1))
    damaged = head[:at] + data.draw(st.binary(max_size=3)) + head[at + data.draw(st.integers(0, 3)) :]
    try:
        message, _ = m.decode_from_actor([damaged, *rest])
    except m.MalformedMessageError:
        return
    assert isinstance(message, m.Message)


@pytest.mark.parametrize(
    "fields",
    [
        {"first_sequence": -1},
        {"first_sequence": 1 << 62},
        {"count": 0},
        {"count": 1 << 31},
        {"count": 1.5},
        {"count": "2"},
        {"stream": b"short"},
        {"stream": None},
    ],
)
def test_values_out_of_range_are_malformed(fields):
    plain = {"type": "Transitions", "stream": STREAM, "first_sequence": 0, "count": 1, **fields}
    with pytest.raises(m.MalformedMessageError):
        m.decode_from_actor([msgspec.msgpack.encode(plain), b""])


def test_deep_nesting_and_giant_heads_are_malformed():
    for head in (b"\x91" * 100_000, bytes(m.MAX_HEAD_BYTES + 1), b"\xdd\xff\xff\xff\xff"):
        with pytest.raises(m.MalformedMessageError):
            m.decode_from_actor([head])


def test_a_newer_hello_with_more_fields_is_still_read():
    hello = msgspec.to_builtins(FROM_ACTOR[0][0], builtin_types=(bytes,)) | {"type": "Hello", "new": 1}
    assert m.decode_from_actor([msgspec.msgpack.encode(hello)])[0] == FROM_ACTOR[0][0]


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
)


@given(
    st.dictionaries(
        st.text(), scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)
    )
)
def test_reports_come_back_unchanged(values):
    assert m.decode_report(m.encode_report(values)) == values


def test_numpy_scalars_are_plain_values():
    encoded = m.encode_report({"return": np.float32(0.5), "success": np.bool_(True), "steps": np.int64(3)})
    assert m.decode_report(encoded) == {"return": 0.5, "success": True, "steps": 3}


@pytest.mark.parametrize("value", [object(), np.zeros(3), {"a": {"b": 1}}, [[1]], {1: 2}])
def test_what_is_not_plain_is_refused_at_once(value):
    with pytest.raises(ValueError, match="plain values"):
        m.encode_report({"value": value})


def test_too_large_a_report_is_refused_on_both_sides():
    with pytest.raises(ValueError, match="too large"):
        m.encode_report({"text": "x" * m.MAX_REPORT_BYTES})
    with pytest.raises(m.MalformedMessageError):
        m.decode_report(msgspec.msgpack.encode({"text": "x" * m.MAX_REPORT_BYTES}))
