"""The robot as a `gymnasium.Env`: robot contract, task, environment, episode files."""
