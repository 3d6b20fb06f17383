"""Metrics of streams of tasks."""
