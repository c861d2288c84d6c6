"""`journeyman doctor` finds what is missing, and says what to do."""

import json
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import InputError
from journeyman import doctor
from journeyman.doctor import Check, Verdict


@pytest.fixture
def written() -> list[str]:
    return []


def only(monkeypatch: pytest.MonkeyPatch, **probes: Callable[[], Check]) -> None:
    monkeypatch.setattr(doctor, "_PROBES", probes)


def test_this_machine_passes(written: list[str]) -> None:
    assert doctor.run(Namespace(json=True), written.append) == 0
    checks = {check["name"]: check for check in json.loads(written[0])}
    assert checks.keys() == doctor._PROBES.keys()
    assert checks["MuJoCo"]["verdict"] == "OK"


def test_the_table_has_one_row_per_check(monkeypatch: pytest.MonkeyPatch, written: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    good = Check("paint", Verdict.OK, "dry")
    poor = Check("tyres", Verdict.WARN, "soft", "Pump them up.")
    only(monkeypatch, paint=lambda: good, tyres=lambda: poor)
    assert doctor.run(Namespace(json=False), written.append) == 0
    _, first, second = written[0].splitlines()
    assert first.split() == ["OK", "paint", "dry"]
    assert second.split() == ["WARN", "tyres", "soft", "Pump", "them", "up."]


def test_a_failed_check_fails_the_command(monkeypatch: pytest.MonkeyPatch, written: list[str]) -> None:
    only(monkeypatch, disk=lambda: Check("disk", Verdict.FAIL, "full", "Free some."))
    assert doctor.run(Namespace(json=False), written.append) == 1


def test_a_check_that_breaks_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, written: list[str]) -> None:
    def broken() -> Check:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    only(monkeypatch, torch=broken, paint=lambda: Check("paint", Verdict.OK, "dry"))
    assert doctor.run(Namespace(json=True), written.append) == 1
    first, second = json.loads(written[0])
    assert first["verdict"] == "FAIL"
    assert "libcudart" in first["finding"]
    assert second["verdict"] == "OK"


def test_without_a_graphics_library_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no_such_backend")
    check = doctor._rendering()
    assert check.verdict is Verdict.WARN
    assert "no_such_backend" in check.finding
    assert "libosmesa6" in check.fix
    assert "libegl1 libgl1" in check.fix


def test_without_a_compiler_the_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    check = doctor._compiler()
    assert check.verdict is Verdict.WARN
    assert "apt-get install g++" in check.fix


def test_a_path_that_torch_compile_cannot_take_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "prefix", "/home/ann/my robots/.venv")
    check = doctor._compiler()
    assert check.verdict is Verdict.WARN
    assert "my robots" in check.finding


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": doctor.GIB // 2})()
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert doctor._disk().verdict is Verdict.FAIL


def test_a_folder_that_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert doctor._disk().verdict is Verdict.WARN


def test_a_crashing_probe_is_no_crash() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        doctor._probe("import os; os.abort()")


def test_the_clock_of_another_machine_is_compared_on_request(
    monkeypatch: pytest.MonkeyPatch, written: list[str]
) -> None:
    only(monkeypatch)
    far = Check("clock of the peer", Verdict.FAIL, "3 s ahead", "Use chrony.")
    monkeypatch.setattr(doctor, "peer_clock", lambda peer: far if peer == "robot:5499" else None)
    assert doctor.run(Namespace(json=True, overrides=["peer=robot:5499"]), written.append) == 1
    (check,) = json.loads(written[0])
    assert check["finding"] == "3 s ahead"


@pytest.mark.parametrize("word", ["peer=robot", "answer=robot", "pier=robot:1"])
def test_what_is_asked_for_must_make_sense(written: list[str], word: str) -> None:
    with pytest.raises(InputError, match=r"HOST:PORT|no key 'pier'; choose from answer, arm, peer"):
        doctor.run(Namespace(json=True, overrides=[word]), written.append)
    assert not written
