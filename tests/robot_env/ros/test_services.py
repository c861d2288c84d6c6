"""Calling services: with a bound on the wait, and an answer in one sentence."""

import threading
import time

import pytest

pytestmark = pytest.mark.ros


@pytest.fixture
def trigger():
    from std_srvs.srv import Trigger

    return Trigger


@pytest.fixture
def make(runtime, trigger):
    """A client of a service that answers by `act(response)`; both on one node, which a thread spins."""
    from robot_env.ros.services import Service

    def make_service(act=None, **options):
        if act is not None:
            runtime.node.create_service(trigger, "~/act", lambda _, answer: act(answer) or answer)
        return Service(runtime.node, trigger, "test/act", **options)

    return make_service


def test_a_service_that_works_says_nothing(make):
    assert make(lambda answer: setattr(answer, "success", True)).call() == ""


@pytest.mark.parametrize(("reason", "said"), [("the cube fell", "the cube fell"), ("", "no")])
def test_a_service_that_refuses_is_quoted_with_its_name(make, reason, said):
    service = make(lambda answer: setattr(answer, "message", reason))
    assert service.call() == f"/test/act says: {said}"


def test_a_service_that_is_not_there_is_named(make):
    before_s = time.monotonic()
    service = make(timeout_s=0.1)
    assert service.call() == "The service /test/act is not there: start the node that has it."
    assert service.name == "/test/act"
    assert time.monotonic() - before_s < 10.0


def test_a_service_that_does_not_answer_is_waited_for_no_longer_than_said(make):
    hanging = threading.Event()
    service = make(lambda _: hanging.wait(20.0) and None, timeout_s=0.3)
    try:
        assert service.call() == "The service /test/act did not answer within 0.3 s."
    finally:
        hanging.set()


def test_the_whole_answer_can_be_had(make):
    assert make(lambda answer: setattr(answer, "message", "so so")).ask().message == "so so"


def test_a_call_that_nobody_waits_for_arrives_and_one_to_nobody_does_no_harm(make, wait_until):
    called = threading.Event()
    make().call_and_forget()
    service = make(lambda _: called.set())
    before_s = time.monotonic()
    wait_until(lambda: service.call_and_forget() or called.is_set())
    assert time.monotonic() - before_s < 20.0
