"""Configuration of the twin and its tasks; Hydra finds the groups `task` and `robot` here."""
