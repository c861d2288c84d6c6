"""Two bins: what counts as moved, and that the cube never leaves where the arm can fetch it."""

import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from robot_env.practice import PracticeEnv, PracticeTask, StayReset, TaskGraph
from sim.practice import make_rewards
from sim.registration import load, make_env
from sim.tasks.relocate import BACK, THERE

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
LEFT_M, RIGHT_M = (0.5, 0.12, 0.02), (0.5, -0.12, 0.02)


@pytest.fixture
def relocate(twin_env):
    env = twin_env("relocate")
    env.reset(seed=0)
    return env


def put_cube(scene, position_m, quaternion_xyzw=UPRIGHT):
    scene.twin.place("cube", np.array(position_m), np.array(quaternion_xyzw))
    scene.twin.refresh()


def test_the_cube_has_to_lie_still_in_the_bin(relocate):
    scene = relocate.scene
    put_cube(scene, LEFT_M)
    assert (scene.achieved(BACK), scene.achieved(THERE)) == (True, False)
    assert not scene.success(), "at first the goal is the other bin"
    put_cube(scene, RIGHT_M)
    assert (scene.achieved(BACK), scene.achieved(THERE)) == (False, True)
    assert scene.success()
    scene.twin.data.joint("cube").qvel[0] = 0.1
    assert not scene.success(), "it still moves"
    put_cube(scene, (0.5, -0.12, 0.06))
    assert not scene.achieved(THERE), "it is in the air"
    put_cube(scene, (0.5, 0.0, 0.08))
    assert not scene.achieved(THERE)
    assert not scene.achieved(BACK), "over the ridge it is nowhere"


def test_where_it_is_wanted_the_gripper_has_to_withdraw():
    task = load("relocate")
    env = make_env(msgspec.structs.replace(task, scene_config={**task.scene_config, "clearance_m": 0.07}))
    env.reset(seed=0)
    scene = env.scene
    tool = scene.twin.data.site("tool_centre_point").xpos
    put_cube(scene, LEFT_M)
    for height_m, achieved in ((0.05, False), (0.1, True)):
        tool[:] = (LEFT_M[0], LEFT_M[1], height_m)
        assert scene.achieved(BACK) == achieved


def test_wherever_it_falls_it_slides_to_a_floor_where_the_gripper_reaches_it(relocate):
    scene, rng = relocate.scene, np.random.default_rng(0)
    low, high = np.array(relocate.task.workspace.min_m), np.array(relocate.task.workspace.max_m)
    for seed in range(40):
        relocate.reset(seed=seed)
        position_m = rng.uniform(low, high)
        position_m[1:] = rng.uniform((low[1], 0.1), (-0.05, 0.2))  # The arm is above the other bin.
        quaternion = rng.normal(size=4)
        put_cube(scene, position_m, quaternion / np.linalg.norm(quaternion))
        scene.twin.advance(round(2.5 / scene.twin.tick_s))
        assert scene.lies_in(THERE) or scene.lies_in(BACK), f"from {position_m} it came to {scene.cube_m}"


@pytest.mark.slow
@pytest.mark.parametrize("clumsy", [0.0, 0.3])
def test_the_expert_relocates_to_and_fro_without_a_reset_whoever_meddles_in_between(clumsy, monkeypatch):
    env = make_env("relocate")
    env.reset_policy = StayReset(env.robot)
    rewards = make_rewards(env, (THERE, BACK))
    pair = {THERE: PracticeTask((BACK, THERE)), BACK: PracticeTask((THERE, BACK))}
    practice = PracticeEnv(env, rewards, {}, TaskGraph(pair))

    def forbidden(*_):
        raise AssertionError("the state of the twin was written")

    for name in ("reset", "place"):
        monkeypatch.setattr(env.scene.twin, name, forbidden)
    rng = np.random.default_rng(0)
    outcomes = {THERE: [], BACK: []}
    for _ in range(60):
        _, info = practice.reset(seed=int(rng.integers(1000)))
        goal, expert, done = info["agent"], env.scene.make_expert(), False
        assert env.scene.goal == goal
        assert not env.scene.achieved(goal)
        is_clumsy = rng.random() < clumsy
        while not done:
            noise = rng.normal(0.0, 0.2, 4)
            action = rng.uniform(-1, 1, 4) if is_clumsy else np.clip(expert.act() + noise, -1, 1)
            *_, terminated, truncated, info = practice.step(action.astype(np.float32))
            done = terminated or truncated
        assert info["success"] == env.scene.achieved(goal)
        if not is_clumsy:
            outcomes[goal].append(terminated)
    assert all(sum(done) >= len(done) - 1 and len(done) > 10 for done in outcomes.values()), outcomes


def test_dense_terms_grow_on_the_way(relocate):
    scene = relocate.scene
    put_cube(scene, LEFT_M)
    far = scene.dense_terms()
    put_cube(scene, (0.5, -0.02, 0.1))
    near = scene.dense_terms()
    put_cube(scene, RIGHT_M)
    assert far["carry"] < near["carry"] < scene.dense_terms()["carry"] == 1.0


def test_goals_that_the_scene_does_not_have_are_refused(relocate, twin_env):
    with pytest.raises(InputError, match=r"names up, but task 'relocate' has the goals there, back"):
        make_rewards(relocate, ("there", "up"))
    with pytest.raises(InputError, match=r"'reach' has no goals that the twin knows: .* relocate"):
        make_rewards(twin_env("reach"), ("there", "back"))
