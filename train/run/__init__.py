"""A run and its folder: configuration, checkpoints, log, signals, state."""
