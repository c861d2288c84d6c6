"""An endpoint for Prometheus: `sink=[tensorboard,prometheus]`, with the extra `prometheus` installed."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.config import InputError
from journeyman.sinks.config import SinkOptions, read_sink_options
from journeyman.sinks.metrics import ACTOR, EVENTS, LEARNER, LEARNING, OFFLINE, STATE, WRITTEN, Metric
from journeyman.sinks.sink import Sink, Values

_Sample = tuple[Metric, tuple[tuple[str, str], ...]]


class PrometheusOptions(SinkOptions):
    """Where is answered. Who can reach the address can read the figures: there is no password.

    Attributes:
        address: Of this machine.
        port: Of the learner; 0 takes a free one.
        actor_port: Of the actor; each further one of a machine needs another.
    """

    address: str = "127.0.0.1"
    port: int = 9464
    actor_port: int = 9465

    def __post_init__(self) -> None:
        """Refuse what is no port."""
        if not (0 <= self.port < 65536 and 0 <= self.actor_port < 65536):
            raise ValueError(
                f"port {self.port} and actor_port {self.actor_port} must lie between 0 and 65535"
            )


class PrometheusSink:
    """Implements `Sink`; answers with the newest figures from a thread of its own.

    Args:
        options: Where to answer.
        port: Which of the ports.

    Attributes:
        port: Where is answered, once open.
    """

    def __init__(self, options: PrometheusOptions, port: int) -> None:
        self.port = port
        self._options = options
        self._lock = threading.Lock()
        self._samples: dict[_Sample, float] = {}

    def open(self) -> None:
        """Begin to answer.

        Raises:
            ImportError: prometheus_client is not installed.
            OSError: The address or port cannot be used.
        """
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()  # Not the usual one, whose figures are about Python.
        registry.register(self)
        try:
            self._server, _ = start_http_server(self.port, self._options.address, registry)
        except OSError as error:
            raise OSError(error.errno, f"{self._options.address}:{self.port}: {error.strerror}") from None
        self.port = self._server.server_port

    def write(self, step: int, values: Values) -> None:
        """Take the newest figures."""
        with self._lock:
            for name, value in values.items():
                self._take(name, value, step)
            self._samples[WRITTEN, ()] = time.time()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def describe(self) -> list[Any]:
        """Asked by the registry, which would otherwise collect to find the names out; they are ours alone."""
        return []

    def collect(self) -> Iterator[Any]:
        """What the registry is asked for, on the thread of a request."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            samples = dict(self._samples)
        families: dict[str, Any] = {}
        for (metric, labels), value in sorted(samples.items()):
            if metric.name not in families:
                make = CounterMetricFamily if metric.counter else GaugeMetricFamily
                families[metric.name] = make(
                    f"journeyman_{metric.name}", metric.help, labels=[key for key, _ in labels]
                )
            families[metric.name].add_metric([text for _, text in labels], value)
        yield from families.values()

    def _take(self, name: str, value: float, step: int) -> None:
        """File a figure under its metric; those that have none are for the other sinks."""
        group, _, figure = name.partition("/")
        kind, _, agent = group.partition(".")
        by_agent = (("agent", agent),)
        if kind == "offline":
            self._samples[OFFLINE, by_agent] = float(step)
            kind = "learner"
        known = LEARNER.get(f"{kind}/{figure}")
        if known is not None:
            self._samples[known, by_agent] = value
        elif kind == "learner":
            self._samples[LEARNING, (*by_agent, ("figure", figure))] = value
        elif figure == "happened":
            event = EVENTS, (*by_agent, ("kind", kind))
            self._samples[event] = self._samples.get(event, 0.0) + value
        elif figure.startswith("state/"):
            self._samples[STATE, (("state", figure.removeprefix("state/")),)] = value
        elif name in ACTOR:
            self._samples[ACTOR[name], ()] = value


def make(config: dict[str, Any], run: Path, process: str) -> Sink:
    """What `sink.prometheus.factory` names.

    Raises:
        InputError: The configuration is not understood.
    """
    options = read_sink_options(config, PrometheusOptions, "prometheus")
    ports = {"learner": options.port, "actor": options.actor_port}
    if process not in ports:
        raise InputError(
            f"sink.prometheus has no port for the process {process!r}; choose from {', '.join(ports)}."
        )
    return PrometheusSink(options, ports[process])
