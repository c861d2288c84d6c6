"""Films of episodes as MP4."""

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from robot_env.env import RobotEnv

_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.6


class Film:
    """An H.264 file that grows frame by frame; nothing is written before the first frame.

    Attributes:
        refused: Why no frame could be had, if so: a film is worth having, but no reason to fail.
    """

    def __init__(self, path: Path, frames_per_s: float) -> None:
        self.refused: str | None = None
        self._path = path
        self._rate = max(1, round(frames_per_s))
        self._container: av.container.OutputContainer | None = None

    def add(self, env: RobotEnv, caption: str, success: bool) -> None:
        """Film the environment as it is now."""
        try:
            frame = env.render()
        except InputError as error:
            self.refused = str(error)
            return
        if frame is None:
            self.refused = "the robot has no camera for people"
            return
        self.add_frame(frame, caption, success)

    def add_frame(self, frame: NDArray[np.uint8], caption: str, success: bool) -> None:
        """Film a picture, RGB, of even height and width, which must stay the same."""
        self._write(_captioned(frame, caption, success))
        if success:  # Let the eye rest on the end.
            for _ in range(self._rate // 2):
                self._write(_captioned(frame, caption, success))

    def close(self) -> None:
        """Finish the file."""
        if self._container is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            self._container = None

    def _write(self, frame: NDArray[np.uint8]) -> None:
        if self._container is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._path), "w")
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # What browsers play.
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
            self._container.mux(packet)


def _captioned(frame: NDArray[np.uint8], caption: str, success: bool) -> NDArray[np.uint8]:
    image = frame.copy()
    text, colour = (f"{caption}  success", (40, 140, 60)) if success else (caption, (40, 40, 40))
    (width, height), baseline = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    cv2.rectangle(image, (8, 8), (24 + width, 20 + height + baseline), (255, 255, 255), cv2.FILLED)
    cv2.putText(image, text, (16, 14 + height), _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)
    return image
