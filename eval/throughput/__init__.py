"""How fast everything is, side by side on this machine."""
