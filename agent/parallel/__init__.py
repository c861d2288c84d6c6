"""One learner in several processes, each with a GPU of its own: every batch is split, and gradients are averaged."""
