"""`journeyman episodes inspect`: what it says, and the pictures that it makes."""

import av
import cv2
import pytest

from journeyman.cli import main


def shown(capsys, *words, code=0):
    assert main(["episodes", "inspect", *map(str, words)]) == code
    return " ".join(capsys.readouterr().out.split())


def test_everything_about_an_episode(tmp_path, record, capsys):
    path = tmp_path / "0000.mcap"
    record(path, steps=20, cameras=("wrist",), operator="Ada", seed=7, intervened=range(1, 6))
    text = shown(capsys, path)
    for words in (
        "task poke",
        "operator Ada",
        "seed 7",
        "length 20 steps, 2.00 s",
        "result success, terminated, return -19",
        "acted demonstration 15 steps, human 5 steps",
        "/action std_msgs/msg/Float32MultiArray 20 10.00 0.100",
        "/observation/wrist/compressed sensor_msgs/msg/CompressedImage 21 10.00 0.100",
        "rate [Hz]",
        "0 took more than 1.5 of it",
        "gripper_width 0.0",
        "gripper -0.",
    ):
        assert words in text, words


def test_the_state_is_shown_in_its_own_units(tmp_path, record, capsys):
    """The arm was between 0.2 and 0.4 m; stored is twice that."""
    record(tmp_path / "0000.mcap", steps=60)
    text = shown(capsys, tmp_path / "0000.mcap")
    lowest, mean, highest, _ = map(float, text.split("ee_position.0 ")[1].split()[:4])
    assert 0.2 <= lowest < 0.25 < mean < 0.35 < highest <= 0.4


def test_missing_seconds_and_repeated_stamps_are_told(tmp_path, record, capsys):
    record(tmp_path / "0000.mcap", steps=9, late={4: 2.0, 7: -0.1})
    text = shown(capsys, tmp_path / "0000.mcap")
    assert "1 took more than 1.5 of it 2.100 s before the instant 4" in text
    assert "1 instants have the stamp of the one before" in text


def test_what_is_left_of_a_recording(tmp_path, record, capsys):
    record(tmp_path / "0000.mcap", steps=7, finish=False)
    (path,) = tmp_path.glob("*.partial")
    text = shown(capsys, path, f"plot={tmp_path / 'plot.png'}", code=1)
    assert text.startswith("Not a whole episode: it breaks off; 7 whole steps can be read")
    assert "result unknown, terminated" in text
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_pictures(tmp_path, record, capsys):
    path, folder = tmp_path / "0000.mcap", tmp_path / "made"
    record(path, steps=12, cameras=("front", "wrist"), intervened=(3,))
    words = [f"sheet={folder / 'sheet.png'}", f"plot={folder / 'plot.png'}", f"video={folder / 'film.mp4'}"]
    assert "Written:" in shown(capsys, path, "frames=6", *words)
    sheet = cv2.cvtColor(cv2.imread(str(folder / "sheet.png")), cv2.COLOR_BGR2RGB).reshape(-1, 3)
    # Frames 0, 2, 5, 7, 10, 12 (2.4 steps apart, rounded), the last below the colour of success.
    for grey in (0, 20, 50, 70, 100, 120):
        assert (sheet == grey).all(1).sum() > 10_000, grey
    assert (sheet == (30, 140, 60)).all(1).sum() > 1000
    assert cv2.imread(str(folder / "plot.png")).shape[1] == 1100
    with av.open(str(folder / "film.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 13 + 5  # The end stays for half a second.
    assert frames[0].shape == (360, 960, 3)
    assert abs(int(frames[12][-1, -1].mean()) - 120) < 6


def test_an_odd_picture_is_filmed(tmp_path, record, capsys):
    """Films need even sizes."""
    record(tmp_path / "0000.mcap", cameras=("wrist",), size=(7, 9))
    shown(capsys, tmp_path / "0000.mcap", f"video={tmp_path / 'film.mp4'}")
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].width == 462


def test_a_task_of_another_program_is_shown_all_the_same(tmp_path, record, capsys):
    odd = {
        "action": [1],
        "observation": [{"scale": "wide", "name": "ee_position"}, 3],
        "control_rate_hz": "fast",
    }
    record(tmp_path / "0000.mcap", task=odd)
    text = shown(capsys, tmp_path / "0000.mcap", f"plot={tmp_path / 'plot.png'}")
    assert "action.3" in text
    assert "a step of 0.1 s is expected" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0000.mcap", "sheet=x.png"], "no images"),
        (["0000.mcap", "video=x.mp4"], "no images"),
        (["0000.mcap", "frames=0"], "frames 0 must be at least 1"),
        (["absent.mcap"], "cannot be read"),
        (["other.mcap"], "other.mcap: is not an episode"),
        (["0000.mcap", "0000.mcap"], "takes one file, not 2"),
        ([], "takes one file, not 0"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, record, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "0000.mcap")
    (tmp_path / "other.mcap").write_text("something else")
    assert main(["episodes", "inspect", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000.mcap", "other.mcap"]
