"""Calling services from a control loop: with a bound on the wait, and an answer in one sentence."""

import threading
from typing import Any


class Service:
    """A client for services that answer `success` and `message`, as those of std_srvs do.

    Args:
        node: Calls; a `Runtime` must spin it.
        service_type: Its class.
        name: Of the service.
        timeout_s: How long to wait for it to be there, and then for its answer.
        answer_timeout_s: How long for the answer, if that takes longer.

    Attributes:
        name: Full name of the service.
    """

    def __init__(
        self, node: Any, service_type: Any, name: str, timeout_s: float = 5.0, answer_timeout_s: float = 0.0
    ) -> None:
        self._client = node.create_client(service_type, name)
        self.name = str(node.resolve_service_name(name))
        self._type = service_type
        self._timeout_s = timeout_s
        self._answer_timeout_s = max(timeout_s, answer_timeout_s)

    def call(self, request: Any = None) -> str:
        """Call and wait.

        Args:
            request: An empty one if not given.

        Returns:
            Empty if it worked; else what went wrong, in a sentence.
        """
        answer = self.ask(request)
        if isinstance(answer, str):
            return answer
        return "" if answer.success else f"{self.name} says: {answer.message or 'no'}"

    def ask(self, request: Any = None) -> Any:
        """Call and wait; returns the response, or a sentence that says why there is none."""
        problem = self.missing()
        if problem:
            return problem
        done = threading.Event()
        future = self._client.call_async(request or self._type.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(self._answer_timeout_s):
            self._client.remove_pending_request(future)
            return f"The service {self.name} did not answer within {self._answer_timeout_s:g} s."
        return future.result()

    def missing(self) -> str:
        """Wait until the service is there; empty if it is, else a sentence."""
        if self._client.wait_for_service(timeout_sec=self._timeout_s):
            return ""
        return f"The service {self.name} is not there: start the node that has it."

    def call_and_forget(self, request: Any = None) -> None:
        """Call if somebody is there; nobody waits for the answer."""
        if self._client.service_is_ready():
            self._client.call_async(request or self._type.Request())
