"""The NumPy side of the agents, for workers, which never load torch."""
