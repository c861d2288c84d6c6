"""What the cameras see; skipped where nothing can be rendered."""

import os
import subprocess
import sys

import gymnasium
import msgspec
import numpy as np
import pytest

import sim  # noqa: F401 - registers the ids
from controllers.config import InputError
from robot_env.task import CameraConfig
from sim.cameras import TRAINING, Studio, TwinCamera
from sim.registration import load, make_env


@pytest.fixture(scope="module")
def env():
    cameras = {"front": CameraConfig(width=128, height=96), "wrist": CameraConfig(width=64, height=64)}
    made = make_env(msgspec.structs.replace(load("lift_cube"), cameras=cameras), render=True)
    try:
        made.reset(seed=0)
    except InputError as error:
        if os.environ.get(
            "CI"
        ):  # Continuous integration installs a graphics library: a skip would hide its loss.
            raise
        pytest.skip(str(error))
    return made


def _orange(frame: np.ndarray) -> np.ndarray:
    red, green, blue = (frame[..., channel].astype(int) for channel in range(3))
    return (red > 90) & (red > 2 * blue) & (red > green + 40)


def test_frames_have_the_tasks_sizes(env) -> None:
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["front"].shape == (96, 128, 3)
    assert observation["wrist"].shape == (64, 64, 3)


def test_both_cameras_see_the_cube_wherever_it_starts(env) -> None:
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        assert _orange(observation["front"]).sum() > 15, seed
        _, x = np.nonzero(_orange(observation["front"]))
        # The front camera looks at the robot: the robot's left, +y, is to its right.
        assert np.sign(x.mean() - 63.5) == np.sign(env.scene.cube_m[1]) or abs(env.scene.cube_m[1]) < 0.01


def test_the_wrist_camera_sees_what_is_between_the_fingers(env) -> None:
    env.reset(seed=0)
    expert = env.scene.make_expert()
    frame = None
    for _ in range(env.task.episode_steps):
        observation, _, terminated, _, _ = env.step(expert.act())
        frame = observation["wrist"]
        if terminated:
            break
    assert _orange(frame).mean() > 0.05
    _, columns = np.nonzero(_orange(frame))
    assert abs(columns.mean() - 31.5) < 8
    assert frame[-8:].max(axis=2).min() < 80, "no dark finger in sight"


def test_frames_follow_the_scene_and_are_copies(env) -> None:
    first, _ = env.reset(seed=0)
    kept = first["front"].copy()
    second, *_ = env.step(np.array([1.0, 1.0, 1.0, 1.0], np.float32))
    assert (second["front"] != kept).any()
    np.testing.assert_array_equal(first["front"], kept)


def test_people_get_a_larger_picture(env) -> None:
    frame = env.render()
    assert frame.shape == (480, 640, 3)
    assert frame.std() > 20
    made = gymnasium.make("journeyman/Reach-v0", render_mode="rgb_array")
    made.reset(seed=0)
    assert made.render().shape == (480, 640, 3)
    made.close()


def test_cameras_of_one_size_share_a_canvas(env) -> None:
    twin = env.robot.twin
    studio = Studio(twin.model, twin.data)
    frames = [TwinCamera(studio, name, 32, 32, TRAINING).read() for name in ("front", "wrist")]
    assert (frames[0] != frames[1]).any()
    assert len(studio._canvases) == 1


_WITHOUT_GRAPHICS = """
import ctypes.util, sys
import numpy as np
ctypes.util.find_library = lambda name: None
for module in ("mujoco.osmesa", "mujoco.egl", "OpenGL"):
    sys.modules[module] = None
from controllers.config import InputError
from sim.registration import make_env
env = make_env("lift_cube", render=True)
env.reset(seed=0)
env.step(np.zeros(4, np.float32))
try:
    env.render()
except InputError as error:
    print(error)
"""


def test_without_graphics_everything_but_frames_works() -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "DISPLAY")}
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_GRAPHICS],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "libosmesa6" in run.stdout
    assert "libegl1" in run.stdout
    assert len(run.stdout.splitlines()) == 1


def test_the_floor_looks_as_it_would_if_it_were_drawn_in_finer_squares(env) -> None:
    env.reset(seed=0)
    model, data = env.scene.twin.model, env.scene.twin.data
    floor = model.geom("floor").size
    coarse_m = floor[2]
    assert coarse_m > 0.1, "this is what makes frames cheap"
    frames = []
    for floor[2] in (coarse_m, 0.1):  # A studio takes the size of the squares when it draws its first frame.
        studio = Studio(model, data)
        frames += [
            TwinCamera(studio, name, 128, 128, TRAINING).read().astype(int) for name in ("front", "video")
        ]
    floor[2] = coarse_m
    for drawn, finer in zip(frames[:2], frames[2:], strict=True):
        # A few pixels lie on an edge, which one sample a pixel puts on either side.
        assert (np.abs(drawn - finer).max(axis=2) > 3).mean() < 0.001
