"""Short-term memory (level 0): one file for each core; `registry` knows their names."""
