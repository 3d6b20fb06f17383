"""Agents of other people in our evaluator."""
