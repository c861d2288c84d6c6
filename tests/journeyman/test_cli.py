"""Wrong input at the command line: one clear sentence, exit code 2, no traceback, nothing half-written."""

import socket
import subprocess

import pytest
import torch

from journeyman.cli import main
from journeyman.config import compose
from journeyman.run_directory import RunDirectory

PIXELS = ["task=lift_cube_pixels", "algorithm=drq"]


def complaint(capsys, *arguments):
    code = main(arguments)
    output = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in output.err
    return output.err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "task=juggle"], ["juggle", "lift_cube", "reach"]),
        (["train", "robot=c3po"], ["c3po", "twin"]),
        (["train", "learner.speed=9"], ["learner.speed", "device"]),
        (["train", "algorithm.config.layernorm=true"], ["layernorm", "layer_norm"]),
        (["train", "task.scene_config.cube_colour=red"], ["cube_colour"]),
        (["train", "task.observation=[{name: cube_smell}]"], ["cube_smell", "cube_position"]),
        (["train", "task.scene=sim.tasks.nothing.Nothing"], ["sim.tasks.nothing.Nothing"]),
        (["train", "reach"], ["'reach' cannot be read; write it as key=value, such as task=reach"]),
        (["train", "=3"], ["'=3'", "key=value"]),
        (
            ["train", "robot.config.realtme=true"],
            ["realtme", "known are", "randomisation", "mean 'realtime'"],
        ),
        (["train", "robot=ros2", "robot.config.arn=franka"], ["arn", "known are", "namespace", "mean 'arm'"]),
        (["train", "init_checkpoint=bst"], ["'bst'", "choose from newest, best"]),
        (["train", "reset=scripted", "reset.config.budget=3"], ["budget", "known are", "mean 'budget_s'"]),
        (["learner", "transport.address=127.0.0.1:5488"], ["127.0.0.1:5488", "tcp://127.0.0.1"]),
        (["learner", "transport.address=tcp://0.0.0.0:5488"], ["transport.keys", "journeyman keys generate"]),
        (
            ["learner", "transport.address=tcp://0.0.0.0:5488", "transport.keys=absent"],
            ["absent/learner.key_secret", "it is not there", "journeyman keys generate"],
        ),
        (["collect", "epsiodes=3"], ["epsiodes", "keep_failures", "Did you mean 'episodes'"]),
        (["collect", "view=cinema"], ["'cinema'", "choose from auto, terminal, window, none"]),
        (["collect", "tsk=reach"], ["tsk", "mean 'task'"]),
        (["gate", "run=a"], ["needs `against`: write against=VALUE"]),
        (["episodes", "merge", "a", "b"], ["journeyman episodes merge needs `into`"]),
        (["episodes", "list"], ["needs a folder"]),
        (["train", "run=nowhere"], ["nowhere", "run directory"]),
        (["evaluate"], ["journeyman evaluate run="]),
        (["report", "run=nowhere"], ["nowhere"]),
        (["actor", "transport.address=tcp://example.org:1"], ["tcp://example.org:1", "keys"]),
        (["train", "demonstrations.folder=absent"], ["absent"]),
        (["train", "evaluation.episodes=0"], ["evaluation.episodes 0", "at least 1"]),
        (["train", "learner.publish_every=0"], ["publish_every 0", "at least 1"]),
        (["train", "learner.demonstration_ratio=2"], ["demonstration_ratio 2", "between 0 and 1"]),
        (["train", "seed=-5"], ["seed -5"]),
        (["train", "actor.name=../x"], ["'../x'", "letters"]),
        (["train", "robot.provenance=moon"], ["moon"]),
        (["train", "learner.device=mps"], ["mps", "cuda:N"]),
        (["train", "algorithm.config.hidden_sizes=[-3]"], ["hidden_sizes"]),
        (["train", "algorithm.algorithm=os.path.join"], ["os.path.join", "agent.sac.SAC"]),
        (["train", "robot.factory=os.getcwd"], ["os.getcwd"]),
        (["train", "learner.device=[cpu"], ["learner.device=[cpu", "key=value"]),
        (["train", "task=lift_cube_pixels"], ["['front', 'wrist']", "algorithm=drq"]),
        (["train", "algorithm=drq"], ["no cameras", "algorithm=rlpd"]),
        (["train", "algorithm=bc", "demonstrations.episodes=0"], ["nothing to learn from", "demonstrations"]),
        (["train", "algorithm=bc", "learner.demonstration_ratio=0.5"], ["0.5", "agent.bc.BC", "set it to 1"]),
        (
            ["train", "algorithm.config.offline_updates=9", "demonstrations.episodes=0"],
            ["offline_updates is 9", "nothing to learn from"],
        ),
        (["train", "learner.max_environment_steps=-1"], ["max_environment_steps -1"]),
        (["train", *PIXELS, "algorithm.config.encoder.kind=vit"], ["vit", "encoder.kind"]),
        (
            ["train", *PIXELS, "algorithm.config.encoder={kind: resnet10, weights: absent}"],
            ["absent", "safetensors"],
        ),
        (["train", "reward=vice", "reward.learner_config.method=gan"], ["'gan'", "choose from vice, dac"]),
        (["train", "reward=dac", "demonstrations.episodes=0"], ["dac needs at least one demonstration"]),
        (["train", "reward=vice", "reward.config.model=x"], ["reward.learner_config"]),
        (["train", "reward=vice", "reward.learner=os.nothing"], ["os.nothing"]),
        (["train", "reward=vlm"], ["`url`", "timeout_s"]),
        (["train", *PIXELS, "task.cameras.front.width=8"], ["8 x 64 pixels are too small"]),
        (
            [
                "train",
                *PIXELS,
                "learner.replay_capacity=100000000",
                "learner.max_environment_steps=100000000",
            ],
            ["100,000,000 transitions", "GB", "learner.replay_capacity"],
        ),
    ],
)
def test_wrong_input(capsys, tmp_path, arguments, expected):
    error = complaint(capsys, *arguments)
    for word in expected:
        assert word in error
    assert error.count("\n") == 1, error
    # Nothing half-written: no run begins before its input is known to be right.
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian", "task=reach"], ["'trian'", "evaluate", "Did you mean 'train'?"]),
        (["train", "--task", "reach"], ["--task", "without dashes, as in task=reach"]),
        (["robot"], ["required: action\n"]),
        (["keys"], ["required: action\n"]),
    ],
)
def test_words_that_no_verb_takes(capsys, arguments, expected):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    for word in expected:
        assert word in error


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("train", ["task=", "run=DIR"]),
        ("collect", ["keep_failures", "task="]),
        ("gate", ["against=OLD"]),
        ("helped", ["actor=NAME"]),
        ("evaluate", ["run=DIR"]),
    ],
)
def test_help_of_a_verb_names_what_is_said_to_it(capsys, verb, expected):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in expected:
        assert word in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_asked_for_and_absent(capsys, tmp_path):
    error = complaint(capsys, "train", "learner.device=cuda")
    assert "'cuda'" in error
    assert "learner.device=cpu" in error
    assert not list(tmp_path.glob("runs/*"))


def test_port_in_use(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = complaint(
            capsys, "learner", "demonstrations.episodes=0", f"transport.address=tcp://127.0.0.1:{port}"
        )
    assert str(port) in error
    assert "another program uses it" in error


def test_a_run_directory_of_another_version(capsys, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/versions.json").write_text('{"format_version": 0, "journeyman": "0.0.1"}')
    error = complaint(capsys, "train", "run=old")
    assert "0.0.1" in error
    assert "format 0" in error


def test_a_run_keeps_its_task_and_algorithm(capsys, tmp_path):
    run = RunDirectory.create(compose(["task=reach"]))
    before = run.config.read_text()
    for override in ("task.reward.step=0", "algorithm.config.hidden_sizes=[32,32]", "seed=9"):
        error = complaint(capsys, "train", f"run={run.path}", override)
        assert override.split(".")[0].split("=")[0] in error
        assert "begin a new run" in error
    assert run.config.read_text() == before


def test_a_run_belongs_to_one_process(capsys):
    run = RunDirectory.create(compose(["task=reach"]))
    run.hold()
    error = complaint(capsys, "train", f"run={run.path}")
    assert "in use by another process" in error


@pytest.mark.parametrize("override", ["seed=${foo}", "learner.device=[cpu", "learner.speed=1"])
def test_an_override_of_a_resumed_run_that_cannot_be_read(capsys, override):
    run = RunDirectory.create(compose(["task=reach"]))
    assert str(run.path) in complaint(capsys, "train", f"run={run.path}", override)


def test_a_damaged_run_config(capsys):
    run = RunDirectory.create(compose(["task=reach"]))
    for content in (b"\xff\xfe\x00", b"- 1\n- 2\n", b"a: [", b"seed: 1\n"):
        run.config.write_bytes(content)
        assert "config.yaml" in complaint(capsys, "evaluate", f"run={run.path}")


def test_a_robot_that_needs_a_human(capsys):
    """Starts that the arm cannot reach: the reset fails, and no traceback follows."""
    code = main(["collect", "task=reach", "task.scene_config.start={min_m: [3, 3, 3], max_m: [3, 3, 3]}"])
    error = capsys.readouterr().err
    assert code == 3
    assert "could not be reset" in error
    assert "Traceback" not in error


def test_unknown_verb():
    with pytest.raises(SystemExit) as caught:
        main(["fly"])
    assert caught.value.code == 2


def test_the_module_is_the_command():
    import sys

    result = subprocess.run(
        [sys.executable, "-m", "journeyman", "--help"], capture_output=True, text=True, check=True
    )
    for verb in ("train", "actor", "learner", "collect", "evaluate", "report", "doctor"):
        assert verb in result.stdout


def test_demonstrations_of_another_task(capsys, tmp_path):
    assert main(["collect", "task=reach", "demonstrations.episodes=1", "demonstrations.folder=demos"]) == 0
    error = complaint(capsys, "train", "task=lift_cube", "demonstrations.folder=demos")
    assert "0000.mcap" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", ["action.translation_m=0.05", "reward.step=0", "control_rate_hz=20"])
def test_demonstrations_that_mean_something_else(capsys, tmp_path, key):
    demonstrations = ["demonstrations.episodes=1", "demonstrations.folder=demos"]
    assert main(["collect", "task=reach", *demonstrations]) == 0
    error = complaint(capsys, "train", "task=reach", *demonstrations, f"task.{key}")
    assert f"task.{key.split('.')[0].split('=')[0]}" in error
    assert not (tmp_path / "runs").exists()


def test_fewer_demonstrations_than_asked_for(capsys):
    assert main(["collect", "task=reach", "demonstrations.episodes=1", "demonstrations.folder=demos"]) == 0
    error = complaint(capsys, "train", "task=reach", "demonstrations.folder=demos")
    assert "demonstrations.episodes=1" in error


def test_a_nan_in_a_demonstration(capsys, tmp_path):
    """The recorder refuses NaN, so somebody else's file is forged: the bytes of one recorded state are replaced."""
    assert main(["collect", "task=reach", "demonstrations.episodes=1", "demonstrations.folder=demos"]) == 0
    forge_nan(tmp_path / "demos/0000.mcap")
    error = complaint(capsys, "train", "task=reach", "demonstrations.folder=demos")
    assert "nan" in error.lower()
    assert "0000.mcap" in error
    assert not (tmp_path / "runs").exists()


def forge_nan(path):
    """Write the episode again with the reward of its last step replaced by NaN, with the plain mcap library."""
    import struct

    from mcap.reader import make_reader
    from mcap.writer import CompressionType, Writer

    with path.open("rb") as source:
        reader = make_reader(source)
        messages = list(reader.iter_messages())
        metadata = list(reader.iter_metadata())
    rewards = [message.sequence for _, channel, message in messages if channel.topic == "/reward"]
    with path.open("wb") as target:
        writer = Writer(target, compression=CompressionType.NONE)
        writer.start(profile="ros2")
        channels = {}
        for schema, channel, message in messages:
            if channel.topic not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(
                    channel.topic, channel.message_encoding, number, channel.metadata
                )
            data = message.data
            if channel.topic == "/reward" and message.sequence == max(rewards):
                data = data[:4] + struct.pack("<d", float("nan"))
            writer.add_message(
                channels[channel.topic], message.log_time, data, message.publish_time, message.sequence
            )
        for record in metadata:
            writer.add_metadata(record.name, dict(record.metadata))
        writer.finish()
