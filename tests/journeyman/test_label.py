"""`journeyman label`: by ranges, from the truth, on sheets, and on the page."""

import http.client
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from controllers.state import RobotState
from journeyman.cli import main
from journeyman.label_page import LabelServer
from reward_models.success_classifier.labels import LabelFile
from robot_env.episodes import EpisodeWriter, list_episodes


def robot_state(stamp_s):
    zero = np.zeros(3)
    return RobotState(
        stamp_s, *np.zeros((3, 2)), zero, np.array([1.0, 0.0, 0.0, 0.0]), zero, zero, np.zeros(6), 0.04
    )


def record(path, steps=5, cameras=("front", "wrist")):
    """An episode whose frames are as grey as their step; the last earns success."""
    task = {"name": "grey", "reward": {"kind": "sparse", "success": 0.0, "step": -1.0}}
    writer = EpisodeWriter(path, task=task, robot="fake", state_names=("x",), action_size=1)
    seen = [
        {"state": np.zeros(1), **{c: np.full((6, 8, 3), 10 * step, np.uint8) for c in cameras}}
        for step in range(steps + 1)
    ]
    writer.start(seen[0], robot_state(0.0))
    for step in range(1, steps + 1):
        last = step == steps
        writer.step(np.zeros(1), 0.0 if last else -1.0, seen[step], last, False, robot_state(0.1 * step))
    writer.finish(True)


@pytest.fixture
def folder(tmp_path):
    for number in range(2):
        record(tmp_path / f"{number:04d}.mcap")
    return tmp_path


def labels_of(folder):
    return {frame: (label.label, label.who) for frame, label in LabelFile(folder).read().items()}


def test_ranges(folder, capsys):
    ranges = ["0000:0-3=failure", "0001.mcap:5=success", "0000:2=skip"]
    assert main(["label", str(folder), *ranges, "--who", "ada"]) == 0
    said = labels_of(folder)
    assert said["0001.mcap", 5] == ("success", "ada")
    assert [said["0000.mcap", step][0] for step in range(4)] == ["failure", "failure", "skip", "failure"]
    assert "1 success, 3 failure, 1 skip in 2 episodes" in capsys.readouterr().out


def test_from_the_truth(folder):
    assert main(["label", str(folder), "--from-truth"]) == 0
    said = labels_of(folder)
    assert said["0000.mcap", 5] == ("success", "truth")
    assert said["0000.mcap", 4] == ("failure", "truth")


def test_sheets_show_every_frame_on_the_colour_of_its_label(folder, tmp_path):
    assert (
        main(["label", str(folder), "0000:0-4=failure", "0000:5=success", "--sheets", str(tmp_path / "s")])
        == 0
    )
    sheet = cv2.cvtColor(cv2.imread(str(tmp_path / "s/0000.png")), cv2.COLOR_BGR2RGB).reshape(-1, 3)
    for colour in ((30, 140, 60), (190, 50, 40), (50, 50, 50)):
        assert (sheet == colour).all(1).any(), colour
    assert (tmp_path / "s/0001.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0000:1-2=good"], "success, failure, skip"),
        (["nonsense"], "EPISODE:FIRST-LAST=LABEL"),
        (["0009:1=success"], "no episode 0009.mcap"),
        (["0000:4-9=success"], "0 to 5"),
        (["0000:4-3=success"], "rising order"),
        (["--port", "99999"], "99999"),
    ],
)
def test_wrong_input(folder, capsys, arguments, message):
    assert main(["label", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not labels_of(folder)


def test_a_folder_without_episodes(tmp_path, capsys):
    assert main(["label", str(tmp_path)]) == 2
    assert main(["label", str(tmp_path / "absent")]) == 2
    error = capsys.readouterr().err
    assert "no episodes" in error
    assert "not a folder" in error


@contextmanager
def serving(folder):
    with LabelServer(LabelFile(folder), list_episodes(folder), "ada", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, body=None, token=True):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    root = urlsplit(server.url).path if token else "/"
    connection.request("GET" if body is None else "POST", root + path, body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_the_page_shows_frames_and_takes_labels(folder):
    with serving(folder) as server:
        assert server.server_address[0] == "127.0.0.1"
        status, page = ask(server, "")
        assert (status, b"<title>journeyman label" in page) == (200, True)
        assert json.loads(ask(server, "episodes")[1]) == ["0000.mcap", "0001.mcap"]
        status, png = ask(server, "frame/0000.mcap/3")
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] > 2 * picture.shape[0]
        assert (picture == 30).all()
        said = json.dumps({"episode": "0001.mcap", "first": 2, "last": 4, "label": "success"})
        assert ask(server, "label", said)[0] == 200
        shown = json.loads(ask(server, "episode/0001.mcap")[1])
        assert shown == {
            "frames": 6,
            "labels": {"2": "success", "3": "success", "4": "success"},
            "success": True,
        }
    assert labels_of(folder)["0001.mcap", 3] == ("success", "ada")


def test_who_does_not_know_the_address_sees_and_says_nothing(folder):
    with serving(folder) as server:
        said = json.dumps({"episode": "0000.mcap", "first": 0, "last": 1, "label": "success"})
        for path, body in (("", None), ("episodes", None), ("frame/0000.mcap/0", None), ("label", said)):
            assert ask(server, path, body, token=False)[0] == 404
            assert ask(server, f"guess/{path}", body, token=False)[0] == 404
    assert not labels_of(folder)


@pytest.mark.parametrize(
    "path", ["frame/0000.mcap/6", "frame/../labels.jsonl/0", "episode/x.mcap", "other", "frame/0000.mcap/x"]
)
def test_what_is_not_there(folder, path):
    with serving(folder) as server:
        assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"label": "good"}, 400),
        ({"last": 6}, 404),
        ({"first": 3}, 404),
        ({"episode": "x"}, 404),
        ({"extra": 1}, 400),
    ],
)
def test_labels_that_make_no_sense(folder, change, status):
    said = json.dumps({"episode": "0000.mcap", "first": 0, "last": 1, "label": "success"} | change)
    with serving(folder) as server:
        assert ask(server, "label", said)[0] == status
        assert ask(server, "label", "{")[0] == 400
        assert ask(server, "label", "x" * 20_000)[0] == 400
    assert not labels_of(folder)


def test_a_damaged_episode_is_named_on_the_page(folder):
    (folder / "0000.mcap").write_bytes(b"")
    with serving(folder) as server:
        status, why = ask(server, "episode/0000.mcap")
        assert status == 422
        assert b"0000.mcap" in why
        assert ask(server, "episode/0001.mcap")[0] == 200
