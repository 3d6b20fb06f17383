"""Configurations of older versions, read as what they did: what is younger than a run is off."""

from __future__ import annotations

from typing import Any


def modernised(values: dict[str, Any]) -> dict[str, Any]:
    """The JSON values of a saved configuration with what it did spelled out, as a new dict."""
    values = {"proposals": 0.0, "vary": False, "balance": False, **values}
    values.pop("stale", None)  # trials that began with another one's memory (docs/recipe.md)
    agent = values.get("agent")
    if "arm" not in values:  # the core said it
        bare = isinstance(agent, dict) and agent.get("core") == "none"
        values["arm"] = "none" if bare else "short"
    if isinstance(agent, dict):
        slopes = agent.get("slopes", False)
        if isinstance(slopes, bool):  # before they had a scale
            slopes = 0.03 * slopes
        values["agent"] = {**agent, "slopes": slopes}
    if isinstance(values.get("ppo"), dict):
        values["ppo"] = {"stagger": False, "kind": 0.0, "anneal": 1.0, **values["ppo"]}
    return values


def sees_proposals_otherwise(values: dict[str, Any]) -> bool:
    """Whether a saved configuration is of a run whose critic saw proposals' random numbers.

    Since then it sees where the part is wanted; `slopes` became a number at the same time.
    """
    return bool(values.get("proposals")) and isinstance(values.get("agent", {}).get("slopes"), bool)
