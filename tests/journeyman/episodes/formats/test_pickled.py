"""Pickles: all that Python writes for arrays and containers is read, and nothing else is done."""

import os
import pickle
import pickletools
import random
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from controllers.config import InputError
from journeyman.episodes.formats.pickled import load_pickle

TYPES = ["?", "u1", "<i4", ">i8", "<f4", ">f8", "f2", "<U3", "S2"]
NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
ARRAYS = st.sampled_from(TYPES).flatmap(lambda t: arrays(np.dtype(t), array_shapes(min_dims=0, min_side=0)))
KEYS = st.text() | st.integers()
THINGS = st.recursive(
    NUMBERS | ARRAYS,
    lambda parts: (
        st.lists(parts)
        | st.dictionaries(KEYS, parts)
        | st.tuples(parts)
        | st.tuples(parts, parts, parts, parts)
    ),
    max_leaves=12,
)


def load(data, folder, max_bytes=10**9):
    path = Path(folder) / "x.pkl"
    path.write_bytes(data)
    return load_pickle(path, max_bytes)


def assert_equal(found, wanted):
    if isinstance(wanted, np.ndarray | np.generic):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        return
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted, strict=True):
            assert_equal(mine, theirs)
    else:
        assert found == wanted


@settings(max_examples=150)
@given(thing=THINGS, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_what_python_writes_is_read(tmp_path_factory, thing, protocol):
    assert_equal(load(pickle.dumps(thing, protocol), tmp_path_factory.getbasetemp()), thing)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_occurs_twice_is_the_same_twice(tmp_path, protocol):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    thing = [
        values,
        np.asfortranarray(values),
        values,
        {"a": values.dtype.type(3)},
        values[:, ::2],
        values.dtype.type(1),
    ]
    found = load(pickle.dumps(thing, protocol), tmp_path)
    assert_equal(found, thing)
    assert found[0] is found[2]


def test_ordered_dicts_become_dicts(tmp_path):
    assert load(pickle.dumps(OrderedDict(b=1, a=[2])), tmp_path) == {"b": 1, "a": [2]}


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_the_module_names_of_numpy_1_are_known(tmp_path, protocol):
    thing = [np.arange(3.0), np.float32(2.0), np.array([True])]
    data = pickle.dumps(thing, protocol)
    assert b"numpy._core.multiarray" in data
    assert_equal(load(data.replace(b"numpy._core", b"numpy.core"), tmp_path), thing)


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


def evil_state():
    """numpy itself would take the bytes of this array for pointers to objects."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'V8'\nI00\nI01\ntR(I3\nS'|'\nN(S'a'\nt(dS'a'\n(cnumpy\ndtype\n"
        b"(S'O8'\nI00\nI01\ntRI0\ntsI8\nI8\nI0\ntbI00\nS'AAAAAAAA'\ntb."
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda f: pickle.dumps([Evil(os.system, (f"touch {f}",))], 4), "posix.system"),
        (lambda f: pickle.dumps([Evil(os.system, (f"touch {f}",))], 0), "posix.system"),
        (lambda f: pickle.dumps(Evil(eval, (f"open({f!r}, 'w')",))), "builtins.eval"),
        (lambda f: pickle.dumps(Evil(getattr, (Path(f), "touch"))), "builtins.getattr"),
        (lambda f: pickle.dumps(Path(f)), "pathlib.PosixPath"),
        (lambda f: pickle.dumps(np.array([Evil(os.system, (f"touch {f}",))])), "type 'O8'"),
        (lambda f: pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "i4")])), "type 'V8'"),
        (lambda f: pickle.dumps(np.array(["2026-01-01"], "M8[s]")), "type 'M8'"),
        (lambda f: pickle.dumps({1, 2}), "EMPTY_SET"),
        (lambda f: pickle.dumps(1j), "builtins.complex"),
        (lambda f: b"cnumpy\nndarray\n(I3\ntR.", "no function"),
        (lambda f: b"(dcnumpy\nndarray\nb.", "gives a state"),
        (lambda f: b"cnumpy.core.multiarray\n_reconstruct\n}b.", "gives a state"),
        (lambda f: b"(S'touch'\niposix\nsystem\n.", "instruction INST"),
        (lambda f: b"Pperson\n.", "PERSID"),
        (lambda f: evil_state(), "type 'V8'"),
        (lambda f: pickle.dumps(np.zeros(3)).replace(b"\x8c\x02f8", b"\x8c\x02O8"), "type 'O8'"),
    ],
)
def test_what_asks_for_more_is_refused_by_name_and_not_run(tmp_path, data, words):
    flag = tmp_path / "ran"
    with pytest.raises(InputError) as caught:
        load(data(str(flag)), tmp_path)
    assert words in str(caught.value).replace("nt.system", "posix.system")
    assert not flag.exists()


def test_python_would_have_run_it(tmp_path):
    """The test above would prove nothing if the pickle did nothing."""
    flag = tmp_path / "ran"
    pickle.loads(pickle.dumps([Evil(os.system, (f"touch {flag}",))], 4))
    assert flag.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b".",
        b"N",
        b"NN.",
        b"(.",
        b"h\x05.",
        b"\x96" + (2**60).to_bytes(8, "little") + b"x.",
        b"\x8e" + (2**60).to_bytes(8, "little") + b"x.",
        b"I" + b"9" * 5000 + b"\n.",
        pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"K\x04\x85"),
    ],
)
def test_damage_is_one_sentence(tmp_path, data):
    with pytest.raises(InputError, match="no pickle or is damaged") as caught:
        load(data, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_far_place_in_the_memo_costs_nothing(tmp_path):
    assert load(b"Nr\xff\xff\xff\xff.", tmp_path) is None


def test_mutated_pickles_are_read_or_refused(tmp_path):
    rng, refusals = random.Random(0), []
    thing = [{"a": np.arange(6.0).reshape(2, 3), "b": [1, "x", None], "c": np.float32(2)}]
    for number in range(400):
        data = bytearray(pickle.dumps(thing, number % 6))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            load(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]), tmp_path)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 200
    assert not [words for words in refusals if "\n" in words]


def test_a_large_file_is_refused_unread(tmp_path):
    with pytest.raises(InputError, match="max_gb"):
        load(pickle.dumps(np.zeros(1000)), tmp_path, max_bytes=1000)


def test_the_library_only_looks_at_instructions(tmp_path):
    """`pickletools` must not have become something that runs them."""
    flag = tmp_path / "ran"
    list(pickletools.genops(pickle.dumps(Evil(os.system, (f"touch {flag}",)))))
    assert not flag.exists()
    assert "journeyman.episodes.formats.pickled" in sys.modules
