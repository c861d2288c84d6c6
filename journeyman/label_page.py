"""The page on which people label frames, served to this machine only."""

import hmac
import secrets
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from controllers.config import Config, InputError
from reward_models.success_classifier.labels import LabelFile, Verdict
from reward_models.success_classifier.pictures import png, side_by_side
from robot_env.episode import Episode
from robot_env.episodes import read_episode

_PAGE = Path(__file__).with_name("label_page.html")
_MAX_REQUEST_BYTES = 10_000


class _Range(Config):
    """What the page sends: label frames `first` to `last` of an episode."""

    episode: str
    first: int
    last: int
    label: Verdict


class LabelServer(ThreadingHTTPServer):
    """Serves the page under a secret address, so that no other user or web site of this machine can label.

    Args:
        labels: Read and added to.
        paths: The episodes to show.
        who: Labels.
        port: On 127.0.0.1; 0 takes a free one.

    Raises:
        InputError: The port is taken, or there are no episodes.
    """

    daemon_threads = True

    def __init__(self, labels: LabelFile, paths: Sequence[Path], who: str, port: int) -> None:
        self.labels = labels
        self.who = who
        self.token = secrets.token_urlsafe(12)
        self.paths = {path.name: path for path in paths}
        if not self.paths:
            raise InputError(
                f"There are no episodes (*.mcap) in {labels.folder}; give the folder that has them."
            )
        # Two: the one that is looked at, and the next.
        self.episode = lru_cache(maxsize=2)(self._read)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"Port {port} cannot be used ({error}); choose another with --port.") from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def describe(self, name: str) -> dict[str, Any]:
        """Number of frames of an episode and its labels so far."""
        episode = self.episode(name)
        said = {step: label.label for (e, step), label in self.labels.read().items() if e == name}
        return {"frames": len(episode.actions) + 1, "labels": said, "success": episode.success}

    def frame(self, name: str, step: int) -> bytes:
        """All cameras of one instant, side by side, as PNG."""
        seen = self.episode(name).observations
        cameras = [camera for camera in sorted(seen) if camera != "state"]
        if not cameras or not 0 <= step < len(seen["state"]):
            raise KeyError(step)
        return png(side_by_side([seen[camera][step] for camera in cameras]))

    def add(self, said: _Range) -> None:
        """Take in what the page sent."""
        frames = len(self.episode(said.episode).actions) + 1
        if not 0 <= said.first <= said.last < frames:
            raise KeyError(said.first)
        self.labels.add(said.episode, range(said.first, said.last + 1), said.label, self.who)

    def _read(self, name: str) -> Episode:
        return read_episode(self.paths[name])


class _Handler(BaseHTTPRequestHandler):
    """`TOKEN/` the page, `TOKEN/episodes`, `TOKEN/episode/NAME`, `TOKEN/frame/NAME/STEP`; POST `TOKEN/label`."""

    server: LabelServer

    def do_GET(self) -> None:
        """Answer what the page asks for."""
        parts = self._parts()
        try:
            match parts:
                case [""]:
                    self._answer("text/html; charset=utf-8", _PAGE.read_bytes())
                case ["episodes"]:
                    self._answer("application/json", msgspec.json.encode(list(self.server.paths)))
                case ["episode", name]:
                    self._answer("application/json", msgspec.json.encode(self.server.describe(name)))
                case ["frame", name, step] if step.isdecimal():
                    self._answer("image/png", self.server.frame(name, int(step)))
                case _:
                    self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        except KeyError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such frame")
        except InputError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    def do_POST(self) -> None:
        """Take in labels."""
        parts = self._parts()
        if parts != ["label"]:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            return
        try:
            length = int(self.headers.get("Content-Length", 0))
            if not 0 < length <= _MAX_REQUEST_BYTES:
                raise ValueError("no label is as long")
            self.server.add(msgspec.json.decode(self.rfile.read(length), type=_Range))
        except KeyError:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such frame")
        except (ValueError, msgspec.MsgspecError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._answer("application/json", b"true")

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet."""

    def _parts(self) -> list[str]:
        """The path below the token; nothing for who does not know it."""
        _, _, path = self.path.partition("/")
        token, _, rest = path.partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return []
        return rest.split("/")

    def _answer(self, kind: str, content: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.send_response(status)
        content = why.encode()
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
