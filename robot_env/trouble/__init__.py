"""Seeing that an episode has gone wrong, before time is wasted or something breaks."""
