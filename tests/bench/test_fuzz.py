"""A short version of bench/fuzz.py."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import InputError
from bench.fuzz_files import Findings, Kind, fuzz_files, make_kinds
from bench.fuzz_mutations import BINARY, TEXT, mutated

ROOT = Path(__file__).resolve().parents[2]
FILES = 310
MESSAGES = 3000


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> list[Kind]:
    return make_kinds(tmp_path_factory.mktemp("fuzz") / "valid")


def test_the_valid_files_are_read(kinds, tmp_path):
    for kind in kinds:
        kind.read(shutil.copytree(kind.folder, tmp_path / kind.name))  # To read a spool changes it.


def test_damaged_files_are_read_or_refused_in_a_sentence(kinds, tmp_path):
    found = fuzz_files(kinds, FILES, seed=7, keep=tmp_path)
    assert not found.defects
    assert sum(found.outcomes.values()) == FILES
    for kind in kinds:
        assert found.outcomes[kind.name, "refused"] > 0, "else the damage is none"


def test_what_a_reader_must_not_do_is_found(tmp_path):
    """Else the test above could not fail."""
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "x").write_bytes(b"12345")

    def outcome(read) -> Findings:
        kind = Kind("bad", 1, tmp_path / "valid", ("x",), read)
        return fuzz_files([kind], 1, 0, tmp_path / read.__name__)

    def fails(_place):
        raise KeyError("x")

    def allocates(_place):
        bytes(1 << 36)

    def prints_a_book(_place):
        raise InputError("one\ntwo")

    def refuses(_place):
        raise InputError("No.")

    assert "KeyError" in outcome(fails).defects[0]
    assert "MemoryError" in outcome(allocates).defects[0]
    assert "no sentence" in outcome(prints_a_book).defects[0]
    assert not outcome(refuses).defects


@pytest.mark.parametrize("kinds_of_damage", [BINARY, TEXT])
def test_damage_is_the_same_for_the_same_seed(kinds_of_damage):
    data = b"steps: 12\nname: arm\nrate: 0.5\n" * 5
    one, two = ([mutated(data, random.Random(n), kinds_of_damage) for n in range(200)] for _ in range(2))
    assert one == two
    assert sum(spoilt != data for spoilt in one) > 180
    assert mutated(b"", random.Random(0), kinds_of_damage) == b""


def test_a_learner_survives_damaged_messages(tmp_path):
    """As a program: what starts processes is to leave none behind here."""
    words = ["-m", "bench.fuzz", f"--messages={MESSAGES}", "--files=0", f"--json={tmp_path / 'found.json'}"]
    finished = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["messages"][0] >= MESSAGES
    assert found["malformed"] > MESSAGES / 3
    honest, stored = found["honest"]
    assert stored == honest > 0
