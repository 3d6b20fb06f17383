"""Tests of memory: trials in which an agent without memory provably does no better than chance."""
