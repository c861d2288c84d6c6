"""What the launch files do when a process ends."""

import pytest


@pytest.mark.parametrize("code", [1, -9, -11])
def test_a_crashed_learner_goes_on_with_its_run(complete, code):
    context = complete("train", overrides="seed=1")
    assert context.ends(context.processes("journeyman")[0], code) == ["LogInfo", "TimerAction"]
    assert context.processes("journeyman")[1].command[1:] == ["learner", "run=runs/of today"]
    context.learner_says()
    assert len(context.processes("actor_node")) == 1
    context.ends(context.processes("journeyman")[1], code)
    assert context.processes("journeyman")[2].command[1:] == ["learner", "run=runs/of today"]


def test_a_learner_that_crashed_before_it_had_a_run_begins_again(launch):
    context = launch("train", task="reach")
    first = context.processes("journeyman")[0]
    context.ends(first, 1)
    assert context.processes("journeyman")[1].command == first.command
    context.learner_says()
    assert len(context.processes("actor_node")) == 1


@pytest.mark.parametrize("code", [1, -9])
def test_a_crashed_actor_is_respawned_by_launch(complete, code):
    context = complete("train")
    (actor,) = context.processes("actor_node")
    assert actor.respawn
    assert context.ends(actor, code) == ["LogInfo"]


@pytest.mark.parametrize("process", ["journeyman", "actor_node"])
def test_what_keeps_crashing_ends_the_launch(complete, process):
    context = complete("train")
    for _ in range(5):
        assert "Shutdown" not in context.ends(context.processes(process)[-1], 1)
    assert context.ends(context.processes(process)[-1], 1) == ["LogInfo", "Shutdown"]


@pytest.mark.parametrize(("code", "why"), [(2, "wrong input"), (3, "needs a human"), (130, "interrupted")])
@pytest.mark.parametrize("process", ["journeyman", "actor_node"])
def test_wrong_input_a_robot_in_need_and_an_interruption_end_the_launch(complete, process, code, why):
    context = complete("train")
    assert context.ends(context.processes(process)[0], code) == ["LogInfo", "Shutdown"]
    assert why in context.messages()[-1]


def test_a_complete_run_ends_the_launch(complete):
    context = complete("train")
    # The actor was told to end by the learner, which still saves: the launch waits for that, and restarts nothing.
    assert context.ends(context.processes("actor_node")[0], 0) == ["EmitEvent"]
    event = context.done[-1].event
    assert type(event).__name__ == "ShutdownProcess"
    assert event.process_matcher(context.processes("actor_node")[0])
    assert not event.process_matcher(context.processes("journeyman")[0])
    assert context.ends(context.processes("journeyman")[0], 0) == ["LogInfo", "Shutdown"]


def test_an_actor_that_a_learner_elsewhere_told_to_end_ends_the_launch(launch):
    context = launch("real_robot", robot="twin", learner_address="tcp://10.0.0.5:5488")
    assert context.ends(context.processes("actor_node")[0], 0) == ["LogInfo", "Shutdown"]


@pytest.mark.parametrize("code", [0, 1, 2, -9])
@pytest.mark.parametrize("name", ["real_robot", "sim_twin", "teleop"])
def test_a_robot_side_that_ended_is_not_started_again(complete, name, code):
    robot_side = [
        p.executable for p in complete(name).started if p.executable not in ("journeyman", "actor_node")
    ]
    for executable in robot_side:
        context = complete(name)
        (process,), number = context.processes(executable), len(context.started)
        assert not process.respawn
        assert context.ends(process, code) == ["Shutdown"]
        assert len(context.started) == number


@pytest.mark.parametrize("code", [0, 1, -9])
@pytest.mark.parametrize("name", ["learn", "real_robot", "sim_twin", "teleop", "train"])
def test_nothing_is_restarted_while_the_launch_ends(complete, name, code):
    context = complete(name)
    context.is_shutdown = True
    led_to = {action for process in context.started for action in context.ends(process, code)}
    assert led_to <= {"Shutdown"}  # That once more does nothing.
