"""LeRobotDatasets: there and back, what the official class wrote, and that class itself where it is installed."""

import importlib.util
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

END = [(True, False), (False, True), (False, False), (True, True)]
DATA = Path(__file__).parent / "data"


@pytest.fixture
def episodes(make_episode):
    """Four episodes with smooth pictures of an even size."""
    found = [
        make_episode(number, 3 + number, end=END[number], cameras=("wrist", "front")) for number in range(4)
    ]
    for number, episode in enumerate(found):
        rows = np.arange(len(episode.actions) + 1)[:, None, None, None]
        ramp = np.linspace(0, 150, 32)[None, :, None, None] + np.linspace(0, 60, 48)[None, None, :, None]
        images = np.repeat(ramp + 5 * rows + number, 3, axis=3).astype(np.uint8)
        episode.observations.update(front=images)
    return found


@pytest.fixture
def exported(episodes, write_folder, convert, tmp_path):
    assert convert(write_folder(*episodes), tmp_path / "there", "to=lerobot").code == 0
    return tmp_path / "there"


@pytest.mark.parametrize("images", ["png", "h264_lossless"])
def test_there_and_back_is_the_same(
    episodes, write_folder, convert, read_folder, assert_same, tmp_path, images
):
    target = tmp_path / "there"
    assert convert(write_folder(*episodes), target, "to=lerobot", f"images={images}").code == 0
    assert bool(list(target.glob("videos/*/*/*.mp4"))) == (images != "png")
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == 0
    assert not outcome.lines("dropped")
    assert not outcome.lines("note")
    for found, wanted in zip(read_folder(tmp_path / "back"), episodes, strict=True):
        assert_same(found, wanted)


def test_with_loss_only_images_differ_and_little(
    make_episode, write_folder, convert, read_folder, assert_same, tmp_path
):
    wanted = make_episode(0, 12, cameras=("front",))
    ramp = np.linspace(0, 150, 64)[:, None, None] + np.linspace(0, 60, 96)[None, :, None]
    images = np.stack([np.repeat(ramp + 3 * k, 3, axis=2) for k in range(13)]).astype(np.uint8)
    wanted.observations.update(front=images)
    target = tmp_path / "there"
    outcome = convert(write_folder(wanted), target, "to=lerobot", "images=h264")
    assert outcome.code == 0
    assert "lose a little" in outcome.lines("note")[0]
    assert convert(target, tmp_path / "back", "to=mcap").code == 0
    (found,) = read_folder(tmp_path / "back")
    assert_same(found, wanted, lossy=["front"])
    errors = np.abs(found.observations["front"].astype(int) - images)
    assert errors[:-1].max() > 0
    assert errors[:-1].mean() < 2.0
    assert errors[:-1].max() <= 12
    assert errors[-1].max() == 0


def test_it_is_laid_out_as_lerobot_reads_it(episodes, exported):
    info = json.loads((exported / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"]) == ("v3.0", 10, 4)
    assert info["total_frames"] == sum(len(e.actions) for e in episodes)
    assert info["features"]["observation.state"] == {
        "dtype": "float32",
        "shape": [3],
        "names": ["a", "b", "c"],
    }
    assert info["features"]["observation.images.wrist"]["dtype"] == "image"
    rows = pq.read_table(exported / "data/chunk-000/file-000.parquet")
    assert rows.column_names == list(info["features"])
    assert rows["index"].to_pylist() == list(range(info["total_frames"]))
    second = rows.filter(pc.equal(rows["episode_index"], 1))
    np.testing.assert_array_equal(
        second["observation.state"].to_pylist(), episodes[1].observations["state"][:-1]
    )
    np.testing.assert_array_equal(second["action"].to_pylist(), episodes[1].actions)
    assert second["intervened"].to_pylist() == episodes[1].intervened.tolist()
    assert second["next.truncated"].to_pylist() == [False] * 3 + [True]
    assert second["next.done"].to_pylist() == [False] * 3 + [True]
    assert second["next.success"].to_pylist()[-1] == episodes[1].success
    assert second["observation.images.wrist"][0]["bytes"].as_py().startswith(b"\x89PNG")
    lines = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(x["dataset_from_index"], x["dataset_to_index"]) for x in lines] == [
        (0, 3),
        (3, 7),
        (7, 12),
        (12, 18),
    ]
    assert pq.read_table(exported / "meta/tasks.parquet").to_pylist() == [
        {"task_index": 0, "__index_level_0__": "reach"}
    ]


def test_statistics_are_those_of_the_values(episodes, exported):
    stats = json.loads((exported / "meta/stats.json").read_text())
    actions = np.concatenate([e.actions for e in episodes]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0))
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0))
    np.testing.assert_allclose(stats["action"]["max"], actions.max(0))
    assert stats["action"]["count"] == [len(actions)]
    images = np.concatenate([e.observations["wrist"][:-1] for e in episodes]) / 255.0
    for name, wanted in (
        ("mean", images.mean((0, 1, 2))),
        ("std", images.std((0, 1, 2))),
        ("min", images.min((0, 1, 2))),
    ):
        np.testing.assert_allclose(
            stats["observation.images.wrist"][name], wanted.reshape(3, 1, 1), atol=1e-12
        )
    assert {"q01", "q50", "q99"} <= stats["observation.images.wrist"].keys()


def unpacked(name, folder):
    with zipfile.ZipFile(DATA / name) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("kind", ["image", "video"])
def test_what_the_official_class_wrote(convert, read_folder, tmp_path, kind):
    """lerobot 0.4.4 wrote these: T + e steps, state [e, t, 0.5], action [t / 10, -e / 2], images of 20 t + e."""
    source = unpacked(f"lerobot_0.4.4_{kind}.zip", tmp_path / "theirs")
    words = ["to=mcap", "last_observation=repeat"]
    assert convert(source, tmp_path / "repeated", *words).code == 0
    outcome = convert(source, tmp_path / "dropped", "to=mcap")
    assert outcome.code == 0
    assert any("that action is dropped" in note for note in outcome.lines("note"))
    for number, found in enumerate(read_folder(tmp_path / "repeated")):
        steps = 4 + number
        assert len(found.actions) == steps
        times = np.arange(steps)
        np.testing.assert_allclose(
            found.actions, np.stack([times / 10, 0 * times - number / 2], 1), atol=1e-7
        )
        np.testing.assert_array_equal(found.observations["state"][:-1, 1], times)
        errors = np.abs(
            found.observations["front"][:-1, :, :, 0].astype(int) - (20 * times + number)[:, None, None]
        )
        assert errors.max() <= (0 if kind == "image" else 6)
        assert found.rewards.tolist() == [0.0] * (steps - 1) + [1.0]
        assert found.success
        assert found.terminated[-1]
        assert found.metadata.state_names == ("x", "y", "z")
        assert found.metadata.robot == "so100"
        assert found.metadata.task == {"name": "push", "control_rate_hz": 10.0}
        np.testing.assert_allclose(found.elapsed_s, np.arange(steps + 1) / 10, atol=1e-6)
    for number, found in enumerate(read_folder(tmp_path / "dropped")):
        assert len(found.actions) == 3 + number
        assert (found.terminated[-1], found.truncated[-1], found.success) == (False, True, True)


def edit_rows(folder, change):
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def without(table, *rows):
    return table.take([i for i in range(table.num_rows) if i not in rows])


def with_column(table, name, change):
    values = change(table[name].to_pylist())
    return table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: without(t, 5), "3 of its 4 frames"),
        (lambda t: t.take([*range(4), 5, 4, *range(6, t.num_rows)]), "not in order"),
        (lambda t: t.take([*range(4), 4, 4, *range(6, t.num_rows)]), "not in order"),
        (
            lambda t: with_column(t, "timestamp", lambda v: [x + (i >= 5) for i, x in enumerate(v)]),
            "1.100 s after",
        ),
        (
            lambda t: with_column(
                t, "next.reward", lambda v: [9.0 if i == 5 else x for i, x in enumerate(v)]
            ),
            "not those",
        ),
        (
            lambda t: with_column(t, "intervened", lambda v: [x ^ (i == 5) for i, x in enumerate(v)]),
            "not those",
        ),
    ],
)
def test_an_episode_that_was_changed_is_dropped(
    episodes, exported, convert, read_folder, assert_same, tmp_path, change, words
):
    edit_rows(exported, change)
    outcome = convert(exported, tmp_path / "back", "to=mcap")
    assert outcome.code == 1
    (dropped,) = outcome.lines("dropped")
    assert "episode 1" in dropped
    assert words in dropped
    for found, wanted in zip(read_folder(tmp_path / "back"), [episodes[0], *episodes[2:]], strict=True):
        assert_same(found, wanted)


def test_an_edit_may_be_accepted(exported, convert, read_folder, tmp_path):
    edit_rows(exported, lambda t: with_column(t, "next.reward", lambda v: [9.0] * len(v)))
    assert convert(exported, tmp_path / "back", "to=mcap", "accept_changes=true").code == 0
    assert [set(e.rewards) for e in read_folder(tmp_path / "back")] == [{9.0}] * 4


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("meta/info.json", b"{}", "codebase_version"),
        ("meta/info.json", b'{"codebase_version": "v2.1"}', "version v2.1"),
        ("meta/tasks.parquet", b"PAR1", "tasks.parquet"),
        ("meta/episodes/chunk-000/file-000.parquet", None, "meta/episodes"),
        ("data/chunk-000/file-000.parquet", None, "file-000.parquet"),
        ("journeyman/episodes.parquet", None, "journeyman/episodes.parquet"),
    ],
)
def test_a_missing_or_wrong_file_is_said(exported, convert, tmp_path, name, content, words):
    (exported / name).unlink()
    if content is not None:
        (exported / name).write_bytes(content)
    outcome = convert(exported, tmp_path / "back", "to=mcap")
    assert outcome.code == 2
    assert words in outcome.out + outcome.err


def test_another_video_is_noticed(episodes, write_folder, convert, tmp_path):
    target = tmp_path / "there"
    smooth = [e for e in episodes if e.observations.pop("wrist") is not None]
    assert convert(write_folder(*smooth), target, "to=lerobot", "images=h264").code == 0
    (path,) = target.glob("videos/observation.images.front/chunk-000/*.mp4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    outcome = convert(target, tmp_path / "back", "to=mcap")
    assert outcome.code == 2
    assert "not as it was exported" in outcome.err


@pytest.mark.parametrize(
    ("changes", "words", "expected"),
    [
        ({"task": {"name": "x", "control_rate_hz": 12.5}}, [], "whole frames"),
        ({"task": {"name": "x"}}, [], "whole frames"),
        ({}, ["images=h264"], "5 x 7 pixels"),
        ({}, ["images=gif"], "images"),
        ({}, ["speed=9"], "speed"),
    ],
)
def test_what_lerobot_cannot_hold_is_refused(
    make_episode, write_folder, convert, tmp_path, changes, words, expected
):
    outcome = convert(write_folder(make_episode(0, **changes)), tmp_path / "there", "to=lerobot", *words)
    assert outcome.code == 2
    assert expected in outcome.err


@pytest.mark.skipif(importlib.util.find_spec("lerobot") is None, reason="needs the package lerobot")
@pytest.mark.parametrize("images", ["png", "h264", "h264_lossless"])
def test_the_official_class_reads_what_we_write(
    episodes, write_folder, convert, tmp_path, monkeypatch, images
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    if images != "png":  # The odd pictures stay out.
        episodes = [e for e in episodes if e.observations.pop("wrist") is not None]
    target = tmp_path / "there"
    assert convert(write_folder(*episodes), target, "to=lerobot", f"images={images}").code == 0
    dataset = LeRobotDataset("journeyman/test", root=target)
    assert dataset.num_episodes == 4
    assert dataset.num_frames == sum(len(e.actions) for e in episodes)
    index = 0
    for number, episode in enumerate(episodes):
        for step in range(len(episode.actions)):
            row = dataset[index]
            assert (int(row["episode_index"]), int(row["frame_index"]), row["task"]) == (
                number,
                step,
                "reach",
            )
            np.testing.assert_array_equal(row["observation.state"], episode.observations["state"][step])
            np.testing.assert_array_equal(row["action"], episode.actions[step])
            assert float(row["next.reward"]) == np.float32(episode.rewards[step])
            assert bool(row["intervened"]) == episode.intervened[step]
            for camera, wanted in episode.observations.items():
                if camera != "state":
                    found = row[f"observation.images.{camera}"].permute(1, 2, 0).numpy() * 255
                    atol = 12 if images == "h264" else 0.01
                    np.testing.assert_allclose(found, wanted[step].astype(float), atol=atol)
            index += 1
    assert dataset.meta.stats["action"]["mean"].shape == (2,)
    shutil.rmtree(target)
