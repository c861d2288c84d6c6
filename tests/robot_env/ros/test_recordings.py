"""An episode on the twin over ROS tells how old each of its observations was, and how far images were from joints."""

import msgspec
import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.ros

CAMERAS = {"front": {"height": 64, "width": 64}, "wrist": {"height": 64, "width": 64}}
PATIENCE_S = 3.0  # A test machine that is held up must not make the twin stale.
SOURCES = {"joint_states", "pose", "twist", "wrench", "gripper"}


@pytest.fixture(scope="module")
def task():
    from robot_env.task import CameraConfig
    from sim.registration import load

    cameras = msgspec.convert(CAMERAS, dict[str, CameraConfig])
    return msgspec.structs.replace(load("lift_cube"), cameras=cameras, episode_length_s=1.0)


@pytest.fixture(scope="module")
def env(run_process, twin_description, task, tmp_path_factory):
    """The task on a twin that is a process of its own, commanded without a controller node between."""
    from journeyman.ros.assembly import make_ros2

    cameras = {
        name: msgspec.structs.replace(camera, max_age_s=PATIENCE_S)
        for name, camera in twin_description.cameras.items()
    }
    direct = msgspec.structs.replace(twin_description, commander="direct", cameras=cameras)
    path = tmp_path_factory.mktemp("robot") / "direct.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(direct)))
    config = {"arm": str(path), "objects_max_age_s": PATIENCE_S, "connect_timeout_s": 30.0}
    with run_process("-m", "sim.ros.twin_node", ready="running"):
        env = make_ros2(task, config)
        try:
            yield env
        finally:
            env.close()


@pytest.fixture(scope="module")
def episode(env, task):
    """First observation, all later ones, and the last info."""
    first, _ = env.reset(seed=1)
    observations, info = [], {}
    for _ in range(task.episode_steps):
        observation, _, terminated, truncated, info = env.step(np.array((0.5, 0.0, 0.3, 1.0), np.float32))
        observations.append(observation)
    assert truncated
    assert not terminated
    return first, observations, info


def test_the_last_info_tells_the_age_of_every_source(episode):
    ages = episode[-1]["observation_ages"]
    assert ages.keys() == {"state"} | SOURCES | {
        f"{name}_image{what}" for name in CAMERAS for what in ("", "_to_joints")
    }
    for name, age in sorted(ages.items()):
        print(f"{name:24} median {1e3 * age['median_s']:6.1f} ms, p99 {1e3 * age['p99_s']:6.1f} ms")
        assert 0.0 < age["median_s"] <= age["p99_s"] <= 1.2 * PATIENCE_S


def test_ages_are_of_the_order_of_the_topics_periods(episode):
    ages = episode[-1]["observation_ages"]
    # 500 Hz, 100 Hz and 30 Hz; an hour's worth of patience with machines that run tests.
    for name in ("joint_states", "pose", "twist", "wrench", "gripper", "front_image", "wrist_image"):
        assert ages[name]["median_s"] < 0.5


def test_the_distance_between_images_and_joints_is_recorded(episode):
    ages = episode[-1]["observation_ages"]
    for name in CAMERAS:
        skew, age = ages[f"{name}_image_to_joints"], ages[f"{name}_image"]
        assert skew["median_s"] < age["p99_s"] * 1.3 + 0.01


def test_images_and_state_are_of_the_scene_as_it_moves(episode, task):
    first, observations, _ = episode
    for name in CAMERAS:
        images = [first[name], *(observation[name] for observation in observations)]
        assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images)
        assert first[name].std() > 5.0
        # The arm is in both pictures, and moved.
        assert np.abs(images[-1].astype(int) - images[0].astype(int)).mean() > 0.3
    moved_m = (observations[-1]["state"][:3] - first["state"][:3]) * task.observation[0].scale
    assert moved_m[0] > 0.02
    assert moved_m[2] > 0.01


def test_the_next_episode_starts_from_its_seed_whatever_the_one_before_did(env, episode):
    first, observations, _ = episode
    again, _ = env.reset(seed=1)
    assert again["state"] == pytest.approx(first["state"], abs=0.02)
    assert np.abs(observations[-1]["state"] - first["state"]).max() > 0.1
    other, _ = env.reset(seed=2)
    assert np.abs(other["state"] - first["state"]).max() > 0.05
