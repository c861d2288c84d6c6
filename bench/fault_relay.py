"""A stretch of network between actors and learner that can be slow, dead or cut; bench/faults.py tells it when.

    python -m bench.fault_relay 127.0.0.1:5489 10.77.0.2:5488

Forwards TCP. Reads commands from standard input, one a line, and ends with it:
`delay SECONDS` later everything takes so much longer each way; `cut` ends every connection and takes no more;
`hang` forwards nothing any more and says nothing; `open` goes on, with what hung.
"""

import asyncio
import contextlib
import sys

_READ_BYTES = 1 << 16
_QUEUED_CHUNKS = 64


class Relay:
    """One port here, one there.

    Args:
        target: Host and port there.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._delay_s = 0.0
        self._cut = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open: set[asyncio.StreamWriter] = set()

    def obey(self, line: str) -> None:
        """Do what a line says.

        Raises:
            ValueError: It is none of the commands.
        """
        command, _, value = line.strip().partition(" ")
        if command not in ("delay", "cut", "hang", "open"):
            raise ValueError(f"{line!r} must be delay SECONDS, cut, hang or open")
        self._delay_s = float(value) if command == "delay" else 0.0
        self._cut = command == "cut"
        if command == "hang":
            self._flowing.clear()
        else:
            self._flowing.set()
        if self._cut:
            for writer in list(self._open):
                writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        if self._cut:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, there_writer}
        self._open |= both
        try:
            ways = [self._forward(reader, there_writer), self._forward(there_reader, writer)]
            _, going = await asyncio.wait(
                [asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED
            )
            for task in going:
                task.cancel()
        finally:
            self._open -= both
            for each in both:
                each.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One way; what is on its way does not hold up what is read."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED_CHUNKS)

        async def deliver() -> None:
            while True:
                due_s, chunk = await under_way.get()
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()

        delivery = asyncio.create_task(deliver())
        try:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(_READ_BYTES):
                    await under_way.put((loop.time() + self._delay_s, chunk))
        finally:
            delivery.cancel()


async def _relay(here: tuple[str, int], there: tuple[str, int]) -> None:
    relay, loop = Relay(there), asyncio.get_running_loop()
    server = await asyncio.start_server(relay.serve, *here)
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        relay.obey(line)
        print(line.strip(), flush=True)
    server.close()


def _endpoint(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    asyncio.run(_relay(*map(_endpoint, sys.argv[1:3])))
