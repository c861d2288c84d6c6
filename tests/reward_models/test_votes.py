from hypothesis import given
from hypothesis import strategies as st

from reward_models.votes import Votes


@given(verdicts=st.lists(st.booleans(), max_size=30), needed=st.integers(1, 5), more=st.integers(0, 4))
def test_success_takes_enough_of_the_last_votes(verdicts, needed, more):
    votes = Votes(needed, needed + more)
    for index, verdict in enumerate(verdicts):
        window = verdicts[max(0, index + 1 - needed - more) : index + 1]
        assert votes.add(verdict) == (sum(window) >= needed)
    votes.restart()
    assert votes.count == 0
