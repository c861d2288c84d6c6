"""Actor to learner and back: typed messages over one ZeroMQ port, delivered exactly once."""
