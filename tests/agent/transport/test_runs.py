"""One spool, learners of several runs: what was made for one run is handed to no other, and nothing is lost."""

import pytest

from agent.config import InputError

ONE, TWO = b"1" * 16, b"2" * 16


def take_all(server) -> list[int]:
    """The steps of all that arrived, without waiting for more."""
    steps: list[int] = []
    while (records := server.poll()) is not None:
        steps += records["step"].tolist()
    return steps


def test_a_learner_of_a_new_run_gets_nothing_of_the_old(serve, open_log, join, rows, tmp_path):
    streams = set()
    for run, count in ((ONE, 700), (TWO, 300)):
        log = open_log(tmp_path / f"{count}.log")
        server = serve(run_id=run, record_log=log)
        client = join(server.address)
        client.wait_welcome(20.0)
        assert (client.next_sequence, client.unacknowledged, client.known_steps) == (0, 0, 0)
        for number in range(count):
            client.send(rows(number, 1))
        client.report({"run": count})
        assert client.flush(20.0)
        assert (client.next_sequence, client.unacknowledged, client.known_steps) == (count + 1, 0, count)
        client.close()
        assert take_all(server) == list(range(count))
        server.close()
        assert server.poll_reports() == [{"run": count}]
        assert [step for records in log.records() for step in records["step"]] == list(range(count))
        streams |= log.cursors.keys()
    assert len(streams) == 2


def test_an_actor_finds_the_learner_of_another_run_in_place_of_its_own(serve, join, rows, take, until):
    first = serve(run_id=ONE)
    client = join(first.address)
    client.send(rows(0, 50))
    assert client.flush(20.0)
    first.close()
    second = serve(first.address, run_id=TWO)
    until(client, lambda: client.connected and client.next_sequence == 0)
    assert (client.unacknowledged, client.environment_steps, client.known_steps) == (0, 0, 0)
    client.send(rows(1000, 20))
    assert client.flush(20.0)
    assert take(second, 20) == list(range(1000, 1020))
    assert (client.next_sequence, client.known_steps, second.environment_steps) == (20, 20, 20)


def test_items_of_another_run_wait_for_its_learner(serve, open_log, join, rows, take, tmp_path):
    log = open_log()
    first = serve(run_id=ONE, record_log=log)
    client = join(first.address)
    client.send(rows(0, 10))
    assert client.flush(20.0)
    first.close()
    client.send(rows(10, 5))
    client.close()

    second = serve(run_id=TWO, lease_s=1000.0)
    client = join(second.address)
    assert client.unacknowledged == 5
    folder = tmp_path / "spools" / "actor-0"
    with pytest.raises(
        InputError, match=rf"{folder} holds 5 items .*go on with the run .* or remove the folder"
    ):
        client.wait_welcome(20.0)
    with pytest.raises(InputError, match="another run"):
        client.send(rows(15, 1))
    client.close()
    assert second.environment_steps == 0
    join(second.address, "actor-0", spool="fresh").wait_welcome(20.0)  # the name is not held for 1000 s

    again = serve(run_id=ONE, record_log=log)
    client = join(again.address)
    assert client.flush(20.0)
    assert take(again, 5) == [10, 11, 12, 13, 14]
    client.close()

    third = serve(run_id=TWO)
    client = join(third.address)
    client.wait_welcome(20.0)
    assert client.next_sequence == 0


def test_items_from_before_the_first_welcome_are_the_first_run_s(serve, join, rows, take):
    first = serve(run_id=ONE)
    first.close()
    client = join(first.address)
    client.send(rows(0, 5))
    client.close()
    client = join(first.address)
    client.send(rows(5, 5))
    server = serve(first.address, run_id=ONE)
    assert client.flush(20.0)
    assert take(server, 10) == list(range(10))


def test_a_learner_without_identity_makes_one_up(serve, join, rows):
    for _ in range(2):
        client = join(serve(run_id=None).address)
        client.wait_welcome(20.0)
        assert client.next_sequence == 0
        client.send(rows(0, 1))
        assert client.flush(20.0)
        client.close()
