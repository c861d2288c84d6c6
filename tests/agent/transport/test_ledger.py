import pytest

from agent.config import InputError
from agent.transport.ledger import Ledger

RUN = b"r" * 16


def test_everything_is_there_for_the_next_owner(tmp_path):
    ledger = Ledger(tmp_path / "stream")
    stream = ledger.stream
    assert (len(stream), ledger.acknowledged, ledger.run_id) == (16, 0, b"")
    ledger.acknowledge(5)
    ledger.close()
    ledger = Ledger(tmp_path / "stream")
    assert (ledger.stream, ledger.acknowledged, ledger.run_id) == (stream, 5, b"")
    ledger.belong_to(RUN)
    ledger.acknowledge(1 << 40)
    ledger.close()
    ledger = Ledger(tmp_path / "stream")
    assert (ledger.stream, ledger.acknowledged, ledger.run_id) == (stream, 1 << 40, RUN)
    ledger.close()


def test_a_new_stream_begins_at_0(tmp_path):
    ledger = Ledger(tmp_path / "stream")
    first = ledger.stream
    ledger.acknowledge(5)
    ledger.begin_stream(RUN)
    second = ledger.stream
    assert second != first
    ledger.close()
    ledger = Ledger(tmp_path / "stream")
    assert (ledger.stream, ledger.acknowledged, ledger.run_id) == (second, 0, RUN)
    ledger.close()


def test_one_owner_at_a_time(tmp_path):
    ledger = Ledger(tmp_path / "stream")
    with pytest.raises(InputError, match="in use by another process"):
        Ledger(tmp_path / "stream")
    ledger.close()
    ledger.close()
    Ledger(tmp_path / "stream").close()


@pytest.mark.parametrize("size", [1, 16, 25, 39, 41])
def test_damage_is_noticed(tmp_path, size):
    (tmp_path / "stream").write_bytes(bytes(size))
    with pytest.raises(InputError, match=f"remove {tmp_path} to give up"):
        Ledger(tmp_path / "stream")
