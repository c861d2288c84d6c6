import msgspec
import pytest

from agent.config import InputError
from journeyman.config import RunConfig, compose, read_config, write_config


def test_defaults_compose():
    config = compose([])
    assert config.task.name == "lift_cube"
    assert config.algorithm.name == "rlpd"
    assert config.robot.name == "twin"
    assert config.demonstrations.episodes == 20


def test_overrides_of_every_depth():
    config = compose(
        [
            "task=reach",
            "seed=3",
            "learner.device=cpu",
            "algorithm.config.utd_ratio=2",
            "task.control_rate_hz=20",
        ]
    )
    assert (config.task.name, config.seed, config.learner.device) == ("reach", 3, "cpu")
    assert config.algorithm.config["utd_ratio"] == 2
    assert config.task.control_rate_hz == 20


def test_what_learns_from_demonstrations_alone_says_so_in_the_configuration_and_can_be_changed():
    config = compose(["algorithm=bc", "algorithm.config.batch_size=32"])
    assert config.algorithm.algorithm == "agent.bc.BC"
    assert config.algorithm.config["batch_size"] == 32
    assert (config.learner.max_environment_steps, config.learner.demonstration_ratio) == (0, 1.0)
    assert compose(["algorithm=bc", "learner.max_environment_steps=9"]).learner.max_environment_steps == 9
    interactive = compose(["algorithm=hg_dagger"])
    assert interactive.algorithm.algorithm == "agent.bc.BC"
    assert interactive.learner.max_environment_steps > 0
    assert (interactive.learner.demonstration_ratio, interactive.actor.random_steps) == (1.0, 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task=lift_cub", r"no task 'lift_cub'; choose from .*lift_cube.*reach.*mean 'lift_cube'"),
        ("robot=frankenstein", r"no robot 'frankenstein'; choose from .*twin"),
        ("robot=xarm7", r"no robot 'xarm7'; choose from .*: robot=ros2 robot\.config\.arm=xarm7\.$"),
        (
            "algorithm.batch_size=5",
            r"no key 'algorithm\.batch_size'; choose from .*algorithm\.config\.batch_size=",
        ),
        (
            "algorithm=ppo",
            r"no algorithm 'ppo'; choose from bc, calql, cql, drq, dsac_t, explore, expo, hg_dagger, ibrl, iql, "
            r"rlpd, sac, td3_bc, wsrl",
        ),
        ("learner.devise=cpu", r"no key 'learner\.devise'; choose from .*device.*mean 'device'"),
        ("sed=1", r"no key 'sed'; choose from .*Did you mean 'seed'"),
        ("task.action.translation=1", r"no key 'task\.action\.translation'; choose from .*translation_m"),
        ("seed=many", r"Expected `int`, got `str` 'many' at `seed`"),
        ("learner.start_steps=", r"learner\.start_steps"),
    ],
)
def test_wrong_input_is_one_sentence_with_the_choices(override, message):
    with pytest.raises(InputError, match=message) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


def test_an_override_that_cannot_be_parsed():
    with pytest.raises(InputError, match="learner"):
        compose(["learner.device=[cpu"])


def test_a_written_config_reads_back_equal(tmp_path):
    config = compose(["task=reach", "seed=5", "evaluation.episodes=7"])
    path = tmp_path / "config.yaml"
    write_config(config, path)
    assert read_config(path) == config
    for choice in ("task=reach", "device=gamepad", "sink=[tensorboard]"):
        with pytest.raises(InputError, match=r"chooses anew .* change single keys, as \w+\.KEY=VALUE"):
            read_config(path, [choice])
    changed = read_config(path, ["learner.max_environment_steps=9"])
    assert changed.learner.max_environment_steps == 9
    assert msgspec.structs.replace(changed, learner=config.learner) == config


def test_a_wrong_override_of_a_run_is_not_blamed_on_its_file(tmp_path):
    path = tmp_path / "config.yaml"
    write_config(compose(["task=reach"]), path)
    with pytest.raises(InputError, match=r"config\.yaml with evaluation\.episodes=0: evaluation\.ep"):
        read_config(path, ["evaluation.episodes=0"])
    path.write_text(path.read_text().replace("episodes: 50", "episodes: -1"))
    for overrides in ([], ["seed=3"]):
        with pytest.raises(InputError, match=r"^/[^ ]*config\.yaml: evaluation\.episodes -1 must"):
            read_config(path, overrides)
    assert read_config(path, ["evaluation.episodes=5"]).evaluation.episodes == 5  # Which mends it.


def test_a_config_of_another_version_names_the_key(tmp_path):
    path = tmp_path / "config.yaml"
    write_config(compose([]), path)
    path.write_text(path.read_text() + "novelty: 1\n")
    with pytest.raises(InputError, match="novelty"):
        read_config(path)


def test_frozen():
    config = compose([])
    assert isinstance(config, RunConfig)
    with pytest.raises(AttributeError):
        config.seed = 1
