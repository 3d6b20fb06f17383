"""Pages, tables and figures of runs."""
