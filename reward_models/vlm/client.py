"""Asks a vision-language model about camera images, over the chat-completions protocol that most servers speak.

vLLM, SGLang, llama.cpp and Ollama serve it on a machine of one's own, and so do the commercial services. The standard
library's HTTP client is enough for one request at a time, and brings no dependency.
"""

import base64
import hashlib
import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError

Image = NDArray[np.uint8]

_MAX_ANSWER_BYTES = 1 << 20
_MINUTE_S = 60.0


class VlmError(Exception):
    """The endpoint gave no usable answer; the message says why."""


class VlmConfig(Config):
    """Where the model is, and how often it may be asked.

    Attributes:
        url: Of the endpoint, such as http://localhost:8000/v1/chat/completions.
        model: Name of the model there.
        api_key_variable: Environment variable that holds the key; null sends none.
        timeout_s: How long an answer may take.
        max_per_minute: More questions are not asked; a reward waits with the next one.
        cache: Folder where answers are kept and looked up, so that the same question about the same image is asked
            once; null keeps none.
    """

    url: str
    model: str
    api_key_variable: str | None = None
    timeout_s: float = 10.0
    max_per_minute: int = 120
    cache: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {self.url!r} must begin with http:// or https:// and name a host")
        if not 0.0 < self.timeout_s < np.inf or self.max_per_minute < 1:
            raise ValueError(
                f"timeout_s {self.timeout_s} must be positive and max_per_minute {self.max_per_minute} at least 1"
            )
        if not self.model:
            raise ValueError("model must not be empty")


class VlmClient:
    """One conversation partner, for any number of threads.

    Args:
        config: Where and how often.

    Attributes:
        asked: Questions sent.
        answered_from_cache: Questions that did not have to be.

    Raises:
        InputError: The environment lacks the key, or the cache cannot be written.
    """

    def __init__(self, config: VlmConfig) -> None:
        self._config = config
        self._key = ""
        if config.api_key_variable is not None:
            self._key = os.environ.get(config.api_key_variable, "")
            if not self._key:
                raise InputError(
                    f"The environment variable {config.api_key_variable} is not set: put the key of {config.url} there."
                )
        self._cache = None if config.cache is None else Path(config.cache)
        if self._cache is not None:
            try:
                self._cache.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"The cache {self._cache} cannot be made: {error}.") from None
        self._lock = threading.Lock()
        self._sent_s: deque[float] = deque()
        self.asked = 0
        self.answered_from_cache = 0

    def is_done(self, goal: str, image: Image) -> bool:
        """Whether the image shows that the goal is reached.

        Raises:
            VlmError: There is no answer, or it is neither yes nor no.
        """
        question = (
            f"The robot's goal: {goal}. Does the picture show that it is reached? Answer only yes or no."
        )
        answer = self.ask(question, [image])
        found = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
        if found is None:
            raise VlmError(f"{self._config.model} answered {_short(answer)} instead of yes or no.")
        return found.group(1).lower() == "yes"

    def progress(self, goal: str, image: Image) -> float:
        """How far the image is on the way to the goal, from 0 to 1.

        Raises:
            VlmError: There is no answer, or it is no number from 0 to 100.
        """
        question = (
            f"The robot's goal: {goal}. How much of the way does the picture show done, in percent? Answer only with a "
            "number from 0 to 100."
        )
        answer = self.ask(question, [image])
        found = re.fullmatch(r"(?:about|~)?\s*(\d{1,3}(?:\.\d+)?)\s*%?\W*", answer.strip())
        if found is None or float(found.group(1)) > 100.0:
            raise VlmError(
                f"{self._config.model} answered {_short(answer)} instead of a number from 0 to 100."
            )
        return float(found.group(1)) / 100.0

    def preferred(self, goal: str, first: Image, second: Image) -> int | None:
        """Which of two images is nearer to the goal: 0, 1, or None if neither.

        Raises:
            VlmError: There is no answer, or it is none of these.
        """
        question = (
            f"The robot's goal: {goal}. Which picture is nearer to it? Answer only with 1, 2, or 0 if they are equally "
            "near."
        )
        answer = self.ask(question, [first, second])
        found = re.fullmatch(r"\W*([012])\W*", answer.strip())
        if found is None:
            raise VlmError(f"{self._config.model} answered {_short(answer)} instead of 0, 1 or 2.")
        return {"0": None, "1": 0, "2": 1}[found.group(1)]

    def ask(self, question: str, images: Sequence[Image]) -> str:
        """The model's answer to a question about images, RGB, each (H, W, 3).

        Raises:
            VlmError: It cannot be reached, takes too long, refuses, or there were too many questions in this minute.
        """
        encoded = [_png(image) for image in images]
        place = self._place(question, encoded)
        if place is not None and place.exists():
            self.answered_from_cache += 1
            return place.read_text()
        self._count()
        answer = self._text(self._post(question, encoded))
        if place is not None:
            partial = place.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            partial.write_text(answer)
            partial.replace(place)
        return answer

    def pause_s(self) -> float:
        """How long to wait for the next question to be within `max_per_minute`."""
        now_s = time.monotonic()
        with self._lock:
            self._forget_before(now_s - _MINUTE_S)
            full = len(self._sent_s) >= self._config.max_per_minute
            return self._sent_s[0] + _MINUTE_S - now_s if full else 0.0

    def _place(self, question: str, images: list[bytes]) -> Path | None:
        if self._cache is None:
            return None
        digest = hashlib.sha256(f"{self._config.model}\0{question}\0".encode())
        for image in images:
            digest.update(hashlib.sha256(image).digest())
        return self._cache / f"{digest.hexdigest()}.txt"

    def _count(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            self._forget_before(now_s - _MINUTE_S)
            if len(self._sent_s) >= self._config.max_per_minute:
                raise VlmError(
                    f"There were {self._config.max_per_minute} questions in this minute: raise max_per_minute."
                )
            self._sent_s.append(now_s)
            self.asked += 1

    def _forget_before(self, time_s: float) -> None:
        while self._sent_s and self._sent_s[0] <= time_s:
            self._sent_s.popleft()

    def _post(self, question: str, images: list[bytes]) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": question}]
        for image in images:
            url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        body = {
            "model": self._config.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": 16,
        }
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._config.url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self._config.timeout_s) as response:
                answer: bytes = response.read(_MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            raise VlmError(f"{self._config.url} answers {error.code} {error.reason}.") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise VlmError(f"{self._config.url} cannot be reached: {reason}.") from None
        return answer

    def _text(self, answer: bytes) -> str:
        try:
            text = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise VlmError(
                f"{self._config.url} answers {_short(answer.decode(errors='replace'))}, which is no chat completion."
            )
        return text


def _png(image: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= 60 else f"{flat[:57]}...")
