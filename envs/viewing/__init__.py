"""Pictures and films of trials."""
