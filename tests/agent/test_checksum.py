import sys
import zlib
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from agent import checksum


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_results_are_those_of_zlib_whichever_it_is(data, value):
    assert checksum.crc32(data) == zlib.crc32(data)
    assert checksum.crc32(memoryview(data), value) == zlib.crc32(data, value)


def test_the_fast_one_is_taken_where_it_is_installed(monkeypatch):
    fast = SimpleNamespace(crc32=lambda data, value=0: zlib.crc32(data, value))
    monkeypatch.setitem(sys.modules, "zlib_ng", SimpleNamespace(zlib_ng=fast))
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", fast)
    assert checksum._fastest() is fast.crc32
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    assert checksum._fastest() is zlib.crc32
