"""Cameras of the twin. Nothing of OpenGL is loaded before the first frame is asked for."""

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError

_MAX_GEOMS = 200
_HIDDEN_GROUPS = slice(3, None)
# What `MUJOCO_GL` may say, and the modules of MuJoCo that do it.
_BACKENDS = {"egl": "mujoco.egl", "osmesa": "mujoco.osmesa", "glfw": "mujoco.glfw"}


@dataclass(frozen=True, slots=True)
class RenderProfile:
    """How much beauty a frame is worth.

    Attributes:
        shadows: Lights cast shadows.
        fog: The floor fades into the distance.
        samples: Samples per pixel for smooth edges; 0 is fastest.
        facets: Flat sides that a round shape is made of.
    """

    shadows: bool
    fog: bool
    samples: int
    facets: int


TRAINING = RenderProfile(shadows=False, fog=False, samples=0, facets=12)
VIDEO = RenderProfile(shadows=True, fog=True, samples=4, facets=32)


_SPECTATOR_SIZE = (160, 120)


class Studio:
    """Renders one twin. Cameras of the same size and profile share a canvas.

    Args:
        model: What is rendered.
        data: Its state.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model = model
        self._data = data
        self._canvases: dict[tuple[int, int, RenderProfile], _Canvas] = {}

    def render(self, camera_id: int, width: int, height: int, profile: RenderProfile) -> NDArray[np.uint8]:
        """A frame, RGB, shape (height, width, 3).

        Raises:
            InputError: This machine has no library to render with.
        """
        key = (width, height, profile)
        if key not in self._canvases:
            self._canvases[key] = _Canvas(self._model, *key)
        return self._canvases[key].render(self._data, camera_id)

    def camera_id(self, name: str) -> int:
        """The model's number of a camera.

        Raises:
            InputError: There is no camera of that name.
        """
        names = [self._model.camera(number).name for number in range(self._model.ncam)]
        if name not in names:
            raise InputError(f"The twin has no camera {name!r}; choose from {', '.join(names)}.")
        return names.index(name)

    def vertical_field_of_view_rad(self, camera_id: int) -> float:
        """Of one camera."""
        return float(np.deg2rad(self._model.cam_fovy[camera_id]))


class TwinCamera:
    """A camera of the model. Implements `robot_env.contracts.Camera`.

    Args:
        studio: Renders.
        name: Of the camera in the model.
        width: Pixels.
        height: Pixels.
        profile: How much beauty.

    Raises:
        InputError: There is no camera of that name.
    """

    def __init__(self, studio: Studio, name: str, width: int, height: int, profile: RenderProfile) -> None:
        self._studio = studio
        self._id = studio.camera_id(name)
        self._size = (width, height)
        self._profile = profile
        self.vertical_field_of_view_rad = studio.vertical_field_of_view_rad(self._id)

    def read(self) -> NDArray[np.uint8]:
        """The scene as it is now, RGB, shape (height, width, 3)."""
        return self._studio.render(self._id, *self._size, self._profile)


def spectator_cameras(model: mujoco.MjModel, data: mujoco.MjData, is_grasping: bool) -> dict[str, TwinCamera]:
    """Cameras by name, small and fast, for somebody who drives the twin of a task that has none.

    Two directions tell the depth that one picture lacks; what is grasped is best seen from the hand.
    """
    studio = Studio(model, data)
    names = ("front", "wrist" if is_grasping else "video")
    return {name: TwinCamera(studio, name, *_SPECTATOR_SIZE, TRAINING) for name in names}


class _Canvas:
    """A drawing surface of one size and profile."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int, profile: RenderProfile) -> None:
        self._model = model
        # `mujoco.Renderer` settles on a library when MuJoCo is imported; by then nobody may have chosen one.
        self._gl = _make_gl_context(width, height)
        self._gl.make_current()
        with _surface(model, width, height, profile):
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW.value] = profile.shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION.value] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_FOG.value] = profile.fog
        self._option = mujoco.MjvOption()
        self._option.geomgroup[_HIDDEN_GROUPS] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value

    def render(self, data: mujoco.MjData, camera_id: int) -> NDArray[np.uint8]:
        self._gl.make_current()
        self._camera.fixedcamid = camera_id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._context)
        # OpenGL's first row is the lowest.
        return self._pixels[::-1].copy()

    def __del__(self) -> None:
        if (
            sys.is_finalizing()
        ):  # The libraries are gone already, and what was drawn on goes with the process.
            return
        if hasattr(self, "_context"):
            self._gl.make_current()
            self._context.free()
        if hasattr(self, "_gl"):
            self._gl.free()


@contextmanager
def _surface(model: mujoco.MjModel, width: int, height: int, profile: RenderProfile) -> Iterator[None]:
    """MuJoCo takes size and detail of a new drawing surface from the model."""
    view, quality = model.vis.global_, model.vis.quality
    wanted = [
        (view, "offwidth", width),
        (view, "offheight", height),
        (quality, "offsamples", profile.samples),
        (quality, "numslices", profile.facets),
        (quality, "numstacks", profile.facets // 2),
        (quality, "numquads", max(1, profile.facets // 8)),
    ]
    before = [(part, name, getattr(part, name)) for part, name, _ in wanted]
    for part, name, value in wanted:
        setattr(part, name, value)
    yield
    for part, name, value in before:
        setattr(part, name, value)


def _make_gl_context(width: int, height: int) -> Any:
    """An OpenGL context from the first library that works; `MUJOCO_GL` decides where it is set."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    failures = []
    for backend in [chosen] if chosen in _BACKENDS else _backends_by_preference():
        try:
            if backend == "egl" and not _egl_finds_a_device():
                raise ImportError("EGL finds no device")
            return import_module(_BACKENDS[backend]).GLContext(width, height)
        # Without its library PyOpenGL fails with whatever attribute or symbol it misses first.
        except (ImportError, AttributeError, OSError, RuntimeError, TypeError) as error:
            failures.append(f"{backend}: {' '.join(str(error).split())}")
    raise InputError(
        f"This machine cannot render ({'; '.join(failures)}): install the Debian package libosmesa6, or libegl1 and "
        "libgl1, or do without cameras and videos."
    )


def _backends_by_preference() -> list[str]:
    if not sys.platform.startswith("linux"):
        return ["glfw"]
    return ["egl", "osmesa"] + (["glfw"] if os.environ.get("DISPLAY") else [])


def _egl_finds_a_device() -> bool:
    """Asked beforehand, because after a failed attempt with EGL a process cannot turn to OSMesa any more."""
    library = ctypes.util.find_library("EGL")
    if library is None:
        return False
    egl = ctypes.CDLL(library)
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return False
    query: Callable[..., int] = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
    )(address)
    found = ctypes.c_int(0)
    return bool(query(0, None, ctypes.byref(found))) and found.value > 0
