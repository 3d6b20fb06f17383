"""A run and its folder: configuration, checkpoints, log, signals, state."""

import os

if os.name != "posix":
    raise SystemExit("Strata runs on Linux (macOS is untested): on Windows use WSL")
