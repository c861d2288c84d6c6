"""A vision-language model as judge, behind a server made for the tests: answers, nonsense, silence."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from reward_models.vlm.client import VlmClient, VlmConfig, VlmError
from reward_models.vlm.reward import VlmReward, VlmRewardConfig, make_vlm_reward
from robot_env.robot import RobotError, RobotUnavailableError
from robot_env.task import CameraConfig, RewardConfig
from sim.registration import load

GOAL = "the cube is lifted"


class Model(ThreadingHTTPServer):
    """Says what `answer(question, images)` returns; text, or an HTTP status, or raw bytes."""

    daemon_threads = True

    def __init__(self):
        self.answer = lambda question, images: "Yes."
        self.requests = []
        self.headers = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = body["messages"][0]["content"]
                question = next(part["text"] for part in content if part["type"] == "text")
                images = [decode(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
                model.requests.append((body["model"], question, images))
                model.headers.append(dict(self.headers))
                answer = model.answer(question, images)
                self.send_response(answer if isinstance(answer, int) else 200)
                self.end_headers()
                if isinstance(answer, str):
                    answer = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
                if isinstance(answer, bytes):
                    self.wfile.write(answer)

            def log_message(self, *_):
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/chat/completions"


def decode(url):
    data = np.frombuffer(base64.b64decode(url.removeprefix("data:image/png;base64,")), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture
def model():
    model = Model()
    thread = threading.Thread(target=model.serve_forever)
    thread.start()
    yield model
    model.shutdown()
    model.server_close()
    thread.join()


@pytest.fixture
def client(model):
    return VlmClient(VlmConfig(url=model.url, model="seer", timeout_s=5.0))


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (8, 10, 3), np.uint8)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Yes", True), ("yes.", True), (' "Yes, it is."', True), ("No", False), ("no, not yet", False)],
)
def test_a_question_about_an_image_is_answered(model, client, answer, expected):
    model.answer = lambda question, images: answer
    assert client.is_done(GOAL, picture()) is expected
    ((name, question, images),) = model.requests
    assert name == "seer"
    assert GOAL in question
    assert np.array_equal(images[0], picture())  # The very image, in the right colours.


@pytest.mark.parametrize(
    ("answer", "expected"), [("70", 0.7), ("0 %", 0.0), ("100%", 1.0), ("~ 12.5%.", 0.125)]
)
def test_progress_is_a_share(model, client, answer, expected):
    model.answer = lambda question, images: answer
    assert client.progress(GOAL, picture()) == expected


@pytest.mark.parametrize(("answer", "expected"), [("1", 0), ("2.", 1), ("0", None)])
def test_a_preference_is_of_the_first_the_second_or_neither(model, client, answer, expected):
    model.answer = lambda question, images: answer
    assert client.preferred(GOAL, picture(1), picture(2)) == expected
    _, _, images = model.requests[0]
    assert np.array_equal(images[0], picture(1))
    assert np.array_equal(images[1], picture(2))


@pytest.mark.parametrize(
    ("ask", "answer", "words"),
    [
        ("is_done", "Perhaps. Yes?", "'Perhaps. Yes\\?' instead of yes or no"),
        ("is_done", "yesterday", "instead of yes or no"),
        ("is_done", "", "'' instead of yes or no"),
        ("progress", "120", "instead of a number from 0 to 100"),
        ("progress", "between 20 and 30", "instead of a number from 0 to 100"),
        ("progress", "-5", "instead of a number from 0 to 100"),
        ("is_done", 500, "answers 500"),
        ("is_done", 401, "answers 401"),
        ("is_done", b"<html>", "'<html>', which is no chat completion"),
        ("is_done", b'{"choices": []}', "no chat completion"),
        ("is_done", b'{"choices": [{"message": {"content": null}}]}', "no chat completion"),
        ("is_done", b"\xff\xfe", "no chat completion"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_so(model, client, ask, answer, words):
    model.answer = lambda question, images: answer
    with pytest.raises(VlmError, match=words):
        getattr(client, ask)(GOAL, picture())


def test_an_endpoint_that_is_down_or_slow_is_named(model):
    down = VlmClient(VlmConfig(url="http://127.0.0.1:9/v1", model="seer"))
    with pytest.raises(VlmError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached: .*refused"):
        down.is_done(GOAL, picture())
    release = threading.Event()
    model.answer = lambda question, images: release.wait(20) and "Yes"
    slow = VlmClient(VlmConfig(url=model.url, model="seer", timeout_s=0.05))
    try:
        with pytest.raises(VlmError, match="cannot be reached: timed out"):
            slow.is_done(GOAL, picture())
    finally:
        release.set()


def test_the_same_question_is_asked_once_also_by_a_later_process(model, tmp_path):
    config = VlmConfig(url=model.url, model="seer", cache=str(tmp_path / "answers"))
    first, second = VlmClient(config), VlmClient(config)
    for client in (first, first, second):
        assert client.is_done(GOAL, picture())
    assert len(model.requests) == 1
    assert (first.asked, first.answered_from_cache, second.answered_from_cache) == (1, 1, 1)
    first.is_done(GOAL, picture(1))
    first.is_done("another goal", picture())
    VlmClient(msgspec.structs.replace(config, model="other")).is_done(GOAL, picture())
    assert len(model.requests) == 4


def test_a_failure_is_not_remembered(model, tmp_path):
    client = VlmClient(VlmConfig(url=model.url, model="seer", cache=str(tmp_path)))
    model.answer = lambda question, images: 503
    with pytest.raises(VlmError):
        client.is_done(GOAL, picture())
    model.answer = lambda question, images: "Yes"
    assert client.is_done(GOAL, picture())


def test_no_more_questions_than_allowed_are_asked(model):
    client = VlmClient(VlmConfig(url=model.url, model="seer", max_per_minute=3))
    for _ in range(3):
        assert client.pause_s() == 0.0
        client.is_done(GOAL, picture())
    assert 50.0 < client.pause_s() <= 60.0
    with pytest.raises(VlmError, match="3 questions in this minute: raise max_per_minute"):
        client.is_done(GOAL, picture())
    assert len(model.requests) == 3


def test_the_key_comes_from_the_environment(model, monkeypatch):
    config = VlmConfig(url=model.url, model="seer", api_key_variable="SEERS_KEY")
    monkeypatch.delenv("SEERS_KEY", raising=False)
    with pytest.raises(InputError, match="SEERS_KEY is not set"):
        VlmClient(config)
    monkeypatch.setenv("SEERS_KEY", "open sesame")
    VlmClient(config).is_done(GOAL, picture())
    assert model.headers[0]["Authorization"] == "Bearer open sesame"


# The reward ------------------------------------------------------------------------------------------------


TASK = msgspec.structs.replace(load("reach"), cameras={"front": CameraConfig(width=10, height=8)})


def make_reward(model, **changes):
    config = VlmRewardConfig(**{"url": model.url, "model": "seer", "goal": GOAL, "wait": True, **changes})
    return VlmReward(VlmClient(config), TASK, config)


def observation(seed=0):
    return {"state": np.zeros(3, np.float32), "front": picture(seed)}


def test_success_is_paid_after_enough_answers_in_a_row_and_forgotten_at_a_reset(model):
    answers = iter(["no", "yes", "no", "yes", "yes", "yes"])
    model.answer = lambda question, images: next(answers)
    reward = make_reward(model)
    reward.restart()
    paid = [reward.reward(observation()) for _ in range(5)]
    assert [p.success for p in paid] == [False, False, False, False, True]
    assert [p.value for p in paid] == [-1.0, -1.0, -1.0, -1.0, 0.0]
    assert paid[-1].terms["answers"] == 5.0
    reward.restart()
    assert not reward.reward(observation()).success


def test_asked_for_progress_it_pays_for_it(model):
    answers = iter(["0", "40 %", "94", "95", "100", "50"])
    model.answer = lambda question, images: next(answers)
    reward = make_reward(model, ask="progress")
    paid = [reward.reward(observation()) for _ in range(5)]
    assert [p.value for p in paid] == pytest.approx([-1.0, -0.6, -0.06, -0.05, 0.0])
    assert [p.success for p in paid] == [False, False, False, False, True]
    assert "percent" in model.requests[0][1]
    reward.restart()
    assert reward.reward(observation()).terms["progress"] == 0.5


def test_progress_of_the_last_episode_is_not_paid(model):
    model.answer = lambda question, images: "90"
    reward = make_reward(model, ask="progress")
    assert reward.reward(observation()).value == pytest.approx(-0.1)
    reward.restart()
    model.answer = lambda question, images: 503
    assert reward.reward(observation(1)).value == -1.0


def test_a_payment_by_which_to_linger_is_worth_more_is_refused(model):
    task = msgspec.structs.replace(TASK, reward=RewardConfig(success=1.0, step=0.0))
    config = VlmRewardConfig(url=model.url, model="seer", goal=GOAL, ask="progress")
    with pytest.raises(InputError, match="step < success <= 0"):
        VlmReward(VlmClient(config), task, config)


def test_the_control_loop_does_not_wait_for_an_answer(model, wait_until):
    release, begun = threading.Event(), threading.Event()

    def answer(question, images):
        begun.set()
        release.wait(20)
        return "yes"

    model.answer = answer
    reward = make_reward(model, wait=False, needed=1)
    for seed in range(50):
        assert not reward.reward(observation(seed)).success
    begun.wait(20)
    release.set()
    wait_until(lambda: reward.reward(observation(50)).success and len(model.requests) >= 2)
    # One question at a time, and always about the newest image.
    assert np.array_equal(model.requests[1][2][0], picture(49)) or np.array_equal(
        model.requests[1][2][0], picture(50)
    )


def test_an_answer_about_the_last_episode_counts_for_nothing(model, wait_until):
    release, begun = threading.Event(), threading.Event()
    model.answer = lambda question, images: (begun.set(), release.wait(20), "yes")[-1]
    reward = make_reward(model, wait=False, needed=1)
    reward.reward(observation())
    begun.wait(20)
    model.answer = lambda question, images: "no"
    reward.restart()
    release.set()

    def are_three():
        paid = reward.reward(observation(1))
        assert paid.terms["answers"] >= 3 or not paid.success
        return paid.terms["answers"] >= 3

    wait_until(are_three)


@pytest.mark.parametrize("answer", [500, "perhaps"])
def test_without_usable_answers_the_fallback_of_the_configuration_holds(model, answer, capsys):
    model.answer = lambda question, images: answer
    going_on = make_reward(model, on_failure="no_success", patience=2)
    paid = [going_on.reward(observation()) for _ in range(5)]
    assert [p.value for p in paid] == [-1.0] * 5
    assert paid[-1].terms["failures"] == 5.0
    # An earlier test's reward may still be told that its server is gone.
    said = [line for line in capsys.readouterr().err.splitlines() if model.url in line or "perhaps" in line]
    assert len(said) == 1
    assert said[0].startswith("Success is not judged for now: ")
    stopping = make_reward(model, on_failure="stop", patience=2)
    assert not stopping.reward(observation()).success
    for _ in range(3):
        with pytest.raises(RobotUnavailableError, match="Success cannot be judged: "):
            stopping.reward(observation())
    model.answer = lambda question, images: "no"  # It is back, and so is the robot.
    assert stopping.reward(observation()).value == -1.0


def test_an_observation_without_the_camera_stops_the_robot(model):
    with pytest.raises(RobotError, match="no image of camera 'front'"):
        make_reward(model).reward({"state": np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"url": "localhost:8000"}, "must begin with http"),
        ({"goal": " "}, "goal must say in words"),
        ({"patience": 0}, "patience 0"),
        ({"timeout_s": 0}, "timeout_s 0"),
        ({"max_per_minute": 0}, "max_per_minute 0"),
        ({"model": ""}, "model must not be empty"),
        ({"on_failure": "hope"}, "hope"),
        ({"urls": "x"}, "urls.*known are.*url"),
        ({"camera": "wrist"}, r"'wrist' is no camera of task 'reach', which has \['front'\]"),
    ],
)
def test_what_cannot_be_asked_is_refused(config, words):
    class Env:
        task = TASK

    plain = {"url": "http://localhost:1/", "model": "seer", "goal": GOAL}
    with pytest.raises(InputError, match=words):
        make_vlm_reward(Env, {**plain, **config})


def test_a_dense_reward_cannot_be_told_by_yes_or_no(model):
    config = VlmRewardConfig(url=model.url, model="seer", goal=GOAL)
    task = msgspec.structs.replace(TASK, reward=RewardConfig(kind="dense"))
    with pytest.raises(InputError, match="choose 'sparse'"):
        VlmReward(VlmClient(config), task, config)
