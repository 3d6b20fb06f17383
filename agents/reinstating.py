"""Raw reinstatement: an agent that was never taught to recall is given a reader that needs none.

At the last still step its state becomes the one that the trial with the same cue left behind, so
what it was doing there simply goes on (docs/memory-benchmarks.md).
"""

from __future__ import annotations

import dataclasses

import torch

from agents.input_layout import CUE, OBJECT
from agents.rl2 import RL2Agent

ONE_CUE = 100.0  # how relevant code and place are: another one is as good as nothing
LATEST = 20.0  # an older entry of the same context is not read beside the latest
NOTHING = 100.0  # above the age of any entry of a lifetime of five rounds
OPEN = 40.0  # of a gate: the whole state is replaced


@torch.no_grad()
def reinstating(agent: RL2Agent, *, entries: int, at: int) -> RL2Agent:
    """A copy of `agent` whose state is put back where the cue is known; nothing is learnt.

    Its net does not see the cue, as it never did in FORK: the reader alone compares it.

    Args:
        agent: without a reader, e.g. of arm short on FORK.
        entries: E, trials of a lifetime.
        at: step of a trial before which is read.
    """
    new = blind(agent, lifetime=entries, read_at=at, relevance_rate=1)
    assert new.reader is not None
    new.reader.relevance.zero_()
    new.reader.relevance[CUE] = new.reader.relevance[OBJECT] = ONE_CUE
    new.reader.unlike.fill_(NOTHING)
    new.reader.ageing.fill_(LATEST)
    new.reader.gate_bias.fill_(OPEN)
    return new


@torch.no_grad()
def blind(agent: RL2Agent, **changes: int) -> RL2Agent:
    """A copy of `agent` whose net does not see cues; FORK shows none, so their weights are random.

    Args:
        agent: trained where there are no cues.
        changes: of its configuration.
    """
    new = RL2Agent(dataclasses.replace(agent.config, **changes))
    new.load_state_dict(agent.state_dict(), strict=False)
    hide_cues(new)
    return new.eval()


@torch.no_grad()
def hide_cues(agent: RL2Agent) -> None:
    """Take the weights of cues away, until they are learnt."""
    agent.encoder.layer.weight[:, CUE] = 0.0
    if agent.body is not None:
        agent.body.first.weight[:, CUE] = 0.0
