"""Trials: their parts, their practice tasks and their sampling."""
