"""Resampling: the newest value before a tick, never one after, and nothing across a gap."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from journeyman.episodes.formats.resampling import NONE, newest, resample, ticks

STAMPS = st.lists(st.integers(0, 3_000_000_000), min_size=1, max_size=40).map(
    lambda s: np.array(sorted(set(s)))
)


@given(stamps=STAMPS, wanted=STAMPS)
def test_the_newest_before_and_never_later(stamps, wanted):
    for tick, index in zip(wanted, newest(stamps, wanted), strict=True):
        before = [k for k, stamp in enumerate(stamps) if stamp <= tick]
        assert index == (before[-1] if before else NONE)


@given(
    streams=st.dictionaries(st.sampled_from("abc"), STAMPS, min_size=1), rate_hz=st.sampled_from([7, 10, 30])
)
def test_pieces_and_gaps_are_all_ticks_and_pieces_have_no_old_value(streams, rate_hz):
    wanted = ticks(0, 3_000_000_000, rate_hz)
    pieces, gaps = resample(streams, wanted, 0.25)
    for piece in pieces:
        for name, stamps in streams.items():
            age_ns = piece.ticks_ns - stamps[piece.indices[name]]
            assert (age_ns >= 0).all()
            assert (age_ns <= 250_000_000).all()
        assert (np.diff(np.searchsorted(wanted, piece.ticks_ns)) == 1).all()
    cut = [t for gap in gaps for t in wanted if gap.start_ns <= t <= gap.end_ns]
    kept = [t for piece in pieces for t in piece.ticks_ns]
    assert sorted(cut + kept) == wanted.tolist()
    for gap in gaps:
        assert gap.silent_s > 0.25


@given(rate_hz=st.floats(1, 200), seconds=st.floats(0, 100), start=st.integers(0, 2**60))
def test_ticks_do_not_drift(rate_hz, seconds, start):
    found = ticks(start, start + int(seconds * 1e9), rate_hz)
    assert found[0] == start
    assert abs((found[-1] - start) - (len(found) - 1) * 1e9 / rate_hz) < 1
    assert len(found) == int(int(seconds * 1e9) * 1e-9 * rate_hz + 1e-9) + 1


def test_no_ticks_where_the_end_comes_first():
    assert resample({"a": np.array([0])}, ticks(5_000_000_000, 0, 10), 0.25) == ([], [])
