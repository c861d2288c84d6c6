from math import inf, nan

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.task import ActionConfig, load_task


@pytest.fixture
def write(tmp_path, make_task):
    def write_(**changes):
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump({**msgspec.to_builtins(make_task()), **changes}))
        return path

    return write_


def test_a_task_comes_back_from_its_yaml(write, make_task):
    assert load_task(write()) == make_task()


def test_the_time_limit_counts_whole_steps(make_task):
    assert make_task(control_rate_hz=20, episode_length_s=7.5).episode_steps == 150
    assert make_task(control_rate_hz=10, episode_length_s=0.3).episode_steps == 3


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"colour": "red"}, "colour"),
        ({"action": {"translation_m": 0.03, "speed": 1}}, "speed"),
        ({"action": {"translation_m": "far"}}, "translation_m"),
        ({"action": {"translation_m": 0.0}}, "translation_m"),
        ({"action": {"translation_m": nan}}, "translation_m"),
        ({"action": {"translation_m": 0.03, "rotation_rad": -0.1}}, "rotation_rad"),
        ({"action": {"translation_m": 0.03, "rotation_rad": 2.0}}, "rotation_rad"),
        ({"action": {"translation_m": 0.03, "frame": "camera"}}, "frame"),
        ({"control_rate_hz": 0}, "control_rate_hz"),
        ({"control_rate_hz": -5}, "control_rate_hz"),
        ({"control_rate_hz": nan}, "control_rate_hz"),
        ({"control_rate_hz": inf}, "control_rate_hz"),
        ({"episode_length_s": 0.05}, "episode_length_s"),
        ({"episode_length_s": inf}, "episode_length_s"),
        ({"workspace": {"min_m": [0.5, 0, 0], "max_m": [0.5, 1, 1]}}, "min_m"),
        ({"workspace": {"min_m": [0.5, 0, nan], "max_m": [0.6, 1, 1]}}, "min_m"),
        ({"workspace": {"min_m": [0, 0], "max_m": [1, 1, 1]}}, "min_m"),
        ({"observation": []}, "observation"),
        ({"observation": [{"name": "ee_position"}, {"name": "ee_position"}]}, "observation"),
        ({"observation": [{"name": "ee_position", "scale": 0}]}, "scale"),
        ({"cameras": {"wrist": {"width": 0}}}, "camera"),
        ({"reward": {"kind": "generous"}}, "kind"),
    ],
)
def test_what_cannot_be_run_is_refused_with_file_and_key(write, changes, key):
    path = write(**changes)
    with pytest.raises(InputError) as caught:
        load_task(path)
    assert str(path) in str(caught.value)
    assert key in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"- 1\n", b"name: [", b"\xff\xfe\x00", b"!!python/object:os.system {}"]
)
def test_what_is_no_task_at_all_is_refused(tmp_path, content):
    path = tmp_path / "task.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a task"):
        load_task(path)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_what_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot be read"):
        load_task(tmp_path / name)


@given(st.booleans(), st.booleans())
def test_the_size_of_an_action_follows_from_its_parts(gripper, turns):
    config = ActionConfig(translation_m=0.01, rotation_rad=0.1 if turns else 0.0, gripper=gripper)
    assert config.size == 3 + (3 if turns else 0) + (1 if gripper else 0)
