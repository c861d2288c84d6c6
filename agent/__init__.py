"""Learning: algorithms, replay, transport, actor and learner. Knows no robot and no simulator."""
