"""Evaluation on goals and tasks: protocol, metrics, results."""
