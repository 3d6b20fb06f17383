"""What a core may ask to be told apart from the features (`memory.cores.core.Core.signals`)."""

SIGNALS = ("outcome", "present")
"""``outcome``: the first input of an episode, which shows how the last one ended. ``present``: the
observation is shown. `agents.input_layout.signal` reads them off the inputs."""
