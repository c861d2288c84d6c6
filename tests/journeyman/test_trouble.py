"""Trouble that is made on purpose: the actor ends in a safe, named state in time, asks once, and goes on after help.

Real actor, real transport, real resets, and the twin's physics in this process; only the person is a double.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import mujoco
import numpy as np
import pytest

from agent.actor import Actor, ActorConfig, Agent
from agent.journal import Journal, JournalReader
from agent.transition import Provenance, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer
from agent.turns import ActorState, Observer
from agent.weights import encode_weights
from journeyman.resets import make_scripted
from robot_env.env import RobotEnv
from robot_env.robot import RobotUnavailableError
from robot_env.trouble.watch import TroubleConfig
from robot_env.watched_env import WatchedEnv
from sim.registration import load, make_env
from sim.scene import UPRIGHT
from sim.tasks.lift_cube import LiftCube

BUDGET_S = 40.0
"""Of each of the two ways to reset, in simulated time."""
AT_REST_RAD_S = 0.01
PERSON_ARRIVES_S = 5.0
OPEN = 1.0


class Person:
    """Implements `robot_env.resets.operator.Operator`: helps when the test says so."""

    def __init__(self):
        self.questions, self.helped = [], threading.Event()

    def ask(self, question):
        self.questions.append(question)

    def answered(self):
        return self.helped.is_set()

    def done(self):
        self.helped.clear()


class Witness(Observer):
    """Notes when, on the robot's clock, what was entered and said."""

    def __init__(self, clock):
        self.clock, self.states, self.events = clock, [], []

    @property
    def last(self):
        return self.states[-1][1] if self.states else None

    def on_state(self, state, why):
        self.states.append((self.clock.now_s(), state, why))

    def on_event(self, text):
        self.events.append(text)

    def on_episode(self, report):
        pass


class Puppet:
    """A policy that does what the trouble wants, and brings it about on the control loop's thread."""

    def __init__(self, trouble, clock):
        self.trouble, self.clock, self.steps, self.made_s = trouble, clock, 0, None

    def act(self, observation, deterministic):
        self.steps += 1
        if self.steps == self.trouble.at_step:
            self.made_s = self.clock.now_s()
            self.trouble.make()
        return np.array(self.trouble.action, np.float32)

    def load_weights(self, weights):
        pass


class Rig:
    """An actor on a thread, whose robot resets itself and asks a person if it cannot."""

    def __init__(self, folder, trouble):
        self.person, robot_env = Person(), trouble.env
        robot_env.reset_policy = make_scripted(robot_env, {"budget_s": BUDGET_S}, self.person)
        self.robot, self.twin = robot_env.robot, robot_env.scene.twin
        self.commands = 0
        self._send_command, self.robot.send_command = self.robot.send_command, self._count_command
        self.twin.reset = self._refuse  # Nobody resets a real arm's world.
        env = WatchedEnv(robot_env, TroubleConfig())
        spec = TransitionSpec.of(env.observation_space, env.action_space)
        self.server = LearnerServer("tcp://127.0.0.1:*", spec, {})
        self.client = ActorClient(self.server.address, "actor-0", spec, {}, folder / "spool")
        self.policy, self.witness = Puppet(trouble, self.robot.clock), Witness(self.robot.clock)
        self.actor = Actor(
            ActorConfig(random_steps=0, evaluate_every=0), env, {"": Agent(self.policy, self.client)}, spec,
            seed=3, provenance=Provenance.TWIN, lockstep=True, park=self.robot.stop,
            fault=RobotUnavailableError, observer=self.witness,
        )  # fmt: skip
        self.error = None
        self._journal = folder / "journal.jsonl"
        self._thread = threading.Thread(target=self._run)
        self.server.set_progress(0, 10**6)
        self.server.publish(0, encode_weights({}))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.actor.request_stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.client.close()
        self.server.close()
        assert self.error is None, self.error

    def entries(self, kind):
        while self.server.poll() is not None:
            pass  # Transitions, of which nothing is wanted here.
        writer = Journal(self._journal)
        for report in self.server.poll_reports():
            writer.write_report(report)
        writer.close()
        return [e for e in JournalReader(self._journal).new() if e["kind"] == kind]

    def _run(self):
        try:
            self.actor.run()
        except BaseException as error:
            self.error = error

    def _count_command(self, command):
        self.commands += 1
        return self._send_command(command)

    def _refuse(self, *_):
        raise AssertionError("a reset reached into the physics")


@dataclass
class Trouble:
    """One kind.

    Attributes:
        env: Where.
        make: Brings it about.
        help: What the person does about it.
        action: What the policy does.
        seen: Is said of the episode; empty where it is the reset that fails.
        seen_after_s: Longest time from `make` to the end of the episode.
        question: Is part of what the person is asked.
        at_step: At which step of the run.
    """

    env: RobotEnv
    make: Callable[[], object]
    help: Callable[[], object]
    action: list[float]
    seen: str
    seen_after_s: float
    question: str
    at_step: int = 8


def thrown_cube(folder):
    env = make_env("lift_cube")
    twin = env.scene.twin

    def put(x, y):
        twin.place("cube", np.array((x, y, 0.02)), UPRIGHT)
        twin.refresh()

    return Trouble(
        env, lambda: put(0.4, 0.9), lambda: put(0.5, 0.0), [0, 0, 0, OPEN],
        seen="cube is out of reach at 0.40, 0.90, 0.02 m", seen_after_s=0.5, question="cube",
    )  # fmt: skip


def jammed_gripper(folder):
    """What should open the fingers pulls them shut."""
    env = make_env("lift_cube")
    gain = env.scene.twin.model.actuator("gripper").gainprm
    usual = gain[0].item()
    return Trouble(
        env, lambda: gain.__setitem__(0, 0.0), lambda: gain.__setitem__(0, usual), [0, 0, 0, OPEN],
        seen="the gripper is jammed: for 2 s its fingers stayed 0 mm apart", seen_after_s=3.0,
        question="the gripper does not open",
    )  # fmt: skip


class Painter:
    """A camera that sees where the arm is, unless it is frozen."""

    def __init__(self, config):
        self.robot, self.frozen, self._shape = None, False, (config.height, config.width, 3)

    def read(self):
        if not self.frozen:
            x, y, z = self.robot.twin.data.site("tool_centre_point").xpos
            self._seen = int(1e5 * (x + 2 * y + 3 * z)).to_bytes(4, "little", signed=True)
        return np.resize(np.frombuffer(self._seen, np.uint8), self._shape)


def frozen_camera(folder):
    task = load("lift_cube_pixels")
    cameras = {name: Painter(config) for name, config in task.cameras.items()}
    env = make_env(task, cameras=cameras)
    for camera in cameras.values():
        camera.robot = env.robot
    wrist = cameras["wrist"]
    return Trouble(
        env, lambda: setattr(wrist, "frozen", True), lambda: setattr(wrist, "frozen", False), [0.3, 0, 0, OPEN],
        seen="camera wrist shows the same picture while the arm moves", seen_after_s=1.5, question="camera wrist",
    )  # fmt: skip


class WalledCube(LiftCube):
    """Its model is written by the test."""


def walled(folder):
    """A twin with a wall, high up until `put(offset_m)` lets it down beside the tool centre point."""
    spec = mujoco.MjSpec.from_file(str(LiftCube.model_file))
    wall = spec.worldbody.add_body(name="wall", mocap=True, pos=(0.0, 0.0, 3.0))
    wall.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.02, 0.5, 0.4), contype=1, conaffinity=6)
    spec.compile()
    path = folder / "walled.xml"
    path.write_text(spec.to_xml())

    WalledCube.model_file = path
    env = make_env(msgspec.structs.replace(load("lift_cube"), scene=f"{__name__}.WalledCube"))
    twin = env.scene.twin

    def put(offset_m):
        twin.data.mocap_pos[0] = twin.state(0.0).ee_position_m + np.array((offset_m, 0.0, 0.0))
        twin.refresh()

    return env, put, lambda: twin.data.mocap_pos.__setitem__((0, 2), 3.0)


def blocked_way(folder):
    """The wall comes down behind the arm, which leans on the end of its workspace; the cube is on the other side."""
    env, put, lift = walled(folder)

    def make():
        env.scene.twin.place("cube", np.array((0.42, 0.0, 0.02)), UPRIGHT)
        put(-0.11)

    return Trouble(
        env, make, lift, [1, 0, 1, OPEN], seen="", seen_after_s=5.0, question="the arm met a force",
    )  # fmt: skip


def blocked_arm(folder):
    """The wall comes down where the policy is about to go."""
    env, put, lift = walled(folder)
    action = [-1, 0, 1, OPEN]

    def make():
        action[0] = 1
        put(0.11)

    return Trouble(env, make, lift, action, seen="the arm", seen_after_s=3.0, question="the arm", at_step=20)


@pytest.mark.parametrize("make", [thrown_cube, jammed_gripper, frozen_camera, blocked_way, blocked_arm])
def test_trouble_ends_in_a_rest_and_one_question_and_the_robot_goes_on_after_help(tmp_path, make, wait_until):
    trouble = make(tmp_path)
    with Rig(tmp_path, trouble) as rig:
        wait_until(lambda: rig.witness.last is ActorState.WAITING_FOR_HUMAN or rig.error, timeout_s=120.0)
        check_states(rig, trouble)
        check_rest(rig)
        help_out(rig, trouble, wait_until)


def check_states(rig, trouble):
    """It was seen, and each way to reset given up, in the time there is for it."""
    assert rig.error is None, rig.error
    made_s = rig.policy.made_s
    after = [(time_s, state, why) for time_s, state, why in rig.witness.states if time_s >= made_s]
    assert [state for _, state, _ in after] == ["resetting", "recovering", "waiting_for_human"]
    (reset_s, _, _), (recover_s, _, _), (ask_s, _, why) = after
    assert reset_s - made_s <= trouble.seen_after_s
    assert recover_s - reset_s <= BUDGET_S
    assert ask_s - recover_s <= BUDGET_S
    assert trouble.question in why
    assert rig.person.questions == [why]
    said = [event for event in rig.witness.events if "ends" in event]
    assert len(said) == bool(trouble.seen)
    assert all(trouble.seen in event for event in said)


def check_rest(rig):
    """Whatever time it takes the person to come, the arm rests and is told nothing."""
    commands, clock = rig.commands, rig.robot.clock
    clock.sleep_until(clock.now_s() + 1.0)
    place_m = rig.robot.observe().ee_position_m
    clock.sleep_until(clock.now_s() + PERSON_ARRIVES_S)
    state = rig.robot.observe()
    assert np.abs(state.joint_velocity_rad_s).max() < AT_REST_RAD_S
    np.testing.assert_allclose(state.ee_position_m, place_m, atol=1e-3)
    assert rig.commands == commands
    assert rig.actor.state is ActorState.WAITING_FOR_HUMAN


def help_out(rig, trouble, wait_until):
    """The person removes the cause and says so; what was learned from before is learned from again."""
    trouble.help()
    steps = rig.policy.steps
    rig.person.helped.set()
    wait_until(
        lambda: rig.policy.steps > steps + trouble.env.task.episode_steps or rig.error, timeout_s=120.0
    )
    assert rig.actor.state in (ActorState.LEARNING, ActorState.RESETTING)
    assert len(rig.person.questions) == 1
    broken, mended, *_ = wait_until(lambda: len(found := rig.entries("episode")) > 1 and found)
    assert [entry["state"] for entry in rig.entries("state")].count("waiting_for_human") == 1
    assert (trouble.seen in broken["trouble"], bool(broken["trouble"])) == (True, bool(trouble.seen))
    assert not broken["success"]
    assert (mended["trouble"], mended["human_resets"]) == ("", 1)
    assert mended["failed_resets"] >= 2
    assert mended["resets"] > mended["failed_resets"]
