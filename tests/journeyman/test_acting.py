import pytest

from agent.config import InputError
from journeyman.acting import make_acting_env
from journeyman.config import compose, read_config, write_config
from robot_env.assisted_env import AssistedEnv
from robot_env.env import RobotEnv
from robot_env.recorded_env import RecordedEnv
from robot_env.watched_env import WatchedEnv

ALL = ["device=intervener", "reset.trouble={}"]


def layers(env):
    found = [type(env)]
    while env is not env.unwrapped:
        env = env.env
        found.append(type(env))
    return found


@pytest.fixture
def acting_layers(tmp_path):
    def get(*overrides):
        env, robot_env = make_acting_env(compose(list(overrides)), tmp_path, None)
        assert env.unwrapped is robot_env
        env.close()
        return layers(env)

    return get


def test_the_person_helps_within_what_is_watched_and_all_of_it_is_recorded(acting_layers):
    assert acting_layers(*ALL) == [RecordedEnv, AssistedEnv, WatchedEnv, RobotEnv]


@pytest.mark.parametrize("reset", ["scripted", "operator", "arm"])
def test_resets_that_can_do_something_about_trouble_are_told_of_it(acting_layers, reset):
    assert acting_layers(f"reset={reset}", "recording.episodes=false") == [WatchedEnv, RobotEnv]


def test_without_help_trouble_and_recording_nothing_is_around_the_robot(acting_layers):
    assert acting_layers("recording.episodes=false") == [RobotEnv]


def test_trouble_is_configured_key_by_key_and_read_back(tmp_path):
    config = compose(["reset.trouble.stuck.duration_s=3", "reset.trouble.contact=null"])
    assert config.reset.trouble.stuck.duration_s == 3.0
    assert config.reset.trouble.contact is None
    assert config.reset.trouble.camera_frozen is not None
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config
    with pytest.raises(InputError, match=r"no key 'reset.trouble.stuck.progress'.*Did you mean 'progress_m'"):
        compose(["reset.trouble.stuck.progress=3"])
    with pytest.raises(InputError, match=r"peak_force_n 1\.0 must not lie below force_n"):
        compose(["reset.trouble.contact.peak_force_n=1"])
