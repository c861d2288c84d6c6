"""From observation to reward on robots that have no ground truth."""
