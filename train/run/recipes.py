"""Defaults by suite: what a suite is trained with unless the command line says otherwise."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from agents.rl2 import AgentConfig
from envs.memory_tests.fork import ForkSettings, Lifetimes, fork_settings
from envs.memory_tests.fork_streams import FORK_STREAMS, stream_settings
from envs.metaworld.suites import SUITES
from train.algorithms.maml_options import MamlOptions
from train.algorithms.ppo_config import PPOConfig
from train.run.command_line import spelt_suite
from train.run.config import Config
from train.run.maml_config import NETWORK, MamlConfig
from train.run.stream_config import StreamConfig

_Kind = TypeVar("_Kind", bound=Config)
_MamlKind = TypeVar("_MamlKind", bound=MamlConfig)
_StreamKind = TypeVar("_StreamKind", bound=StreamConfig)

REACH_STEPS = {2: 750_000, 4: 2_000_000, 8: 4_000_000}  # by targets
JOINT_STEPS = 1_200_000  # for one scene
FORK_TRIALS = 48  # of each scene
FORK_MINIBATCHES = 8  # at least, for about 10,000 steps
FORK_MINIBATCH = 1500  # steps of one at most: 4 epochs are then at least 26 for 10,000 steps
RECALL_STEPS = 24_000  # of an iteration: 40 slots of 6 trials
SLOW_MINIBATCHES = 26  # one a trial, which is the most; the acting policy makes 32
SCENE_RATE = 20.0  # places of an object are centimetres apart, and the hand's are noise
RECALL_MINIBATCHES = 20  # as many optimiser steps for 10,000 samples as FORK has
RECALL_BPTT = 1200  # steps; where a lifetime is one trial, a context comes again within these
PLACE_EPOCHS = 6  # of 8 minibatches, where an iteration is 20,000 steps
PLACE_MINIBATCHES = {"ML25": 10, "ML45": 18}  # it is longer there
PLACE_BPTT = 250  # steps: two episodes, of which the first tells what to do in the second
PART_TRIALS = 24  # unseen ones of each part of a stream, at each evaluation


def recipe(kind: type[_Kind], suite: str | None, act: str | None = None) -> _Kind:
    """The default configuration of a program for a suite and a way of acting.

    None is the program's default suite, or the suite's way of acting.
    """
    name = "" if suite is None else spelt_suite(suite, (*SUITES, *FORK_STREAMS))
    if issubclass(kind, StreamConfig):
        return _fork_stream(kind, name)
    fork = fork_settings(name)
    if fork is not None and issubclass(kind, MamlConfig):
        return _fork_maml(kind, fork)
    if fork is None:
        return _places(kind, name) if act == "posterior" and kind is Config else kind()
    return _fork(kind, fork)


def _places(kind: type[_Kind], suite: str) -> _Kind:
    """Acting on a belief over places, where tasks are hidden (docs/memory-benchmarks.md).

    As in FORK: 24 optimiser steps for 10,000 samples, the belief loss, and credit that ends with
    the episode, for the policy does not remember. Slopes and all else are those of the suites. The
    belief's weight is small: it shares no weights with the policy, and Adam's steps do not depend
    on it, but both are clipped together, and with .5 its gradient is 50 times the policy's.
    """
    ppo = PPOConfig(
        epochs=PLACE_EPOCHS,
        minibatches=PLACE_MINIBATCHES.get(suite, PPOConfig.minibatches),
        bptt=PLACE_BPTT,
        belief=0.02,
        boundary="cut",
    )
    return kind(agent=AgentConfig(act="posterior"), ppo=ppo)


def _fork_maml(kind: type[_MamlKind], fork: ForkSettings) -> _MamlKind:
    """As many attempts before adaptation as an agent with memory has before its last."""
    rollouts = fork.episodes - 1
    return kind(
        total_steps=_fork_steps(fork),
        episodes=2 * rollouts,
        horizon=fork.horizon,
        trials=FORK_TRIALS * len(fork.scenes),
        agent=dataclasses.replace(NETWORK, log_std_init=-0.5),
        maml=MamlOptions(rollouts=rollouts),
    )


def _fork_steps(fork: ForkSettings) -> int:
    """Environment steps that suffice RL²."""
    return sum(
        REACH_STEPS[fork.options] if scene == "reach" else JOINT_STEPS for scene in fork.scenes
    )


def _fork_stream(kind: type[_StreamKind], name: str) -> _StreamKind:
    """FORK's recipe for a stream, whose parts are evaluated as they are trained.

    Where scenes are learnt, slow policies make more steps and the reservoir keeps the best trials.
    """
    fork = stream_settings(name)
    if fork is None:
        return kind()
    found = _fork(kind, fork)
    memory = found.memory
    if name == "STREAM-FORK":  # scenes are learnt there (docs/decisions.md)
        cascade = dataclasses.replace(memory.cascade, slow_minibatches=SLOW_MINIBATCHES)
        memory = dataclasses.replace(memory, replay_from="best", cascade=cascade)
    return dataclasses.replace(
        found,
        suite=name,
        total_steps=None,
        trials=None,
        memory=memory,
        ppo=dataclasses.replace(found.ppo, minibatches=FORK_MINIBATCHES),
        eval_episodes=fork.episodes,
        eval_goals=PART_TRIALS,
    )


def _fork(kind: type[_Kind], fork: ForkSettings) -> _Kind:
    """One recipe for all FORKs (docs/memory-benchmarks.md).

    What matters: at least 24 optimiser steps for 10,000 samples, back-propagation through whole
    trials, the belief loss, and advantages that are normalised per hidden target.
    """
    steps = fork.episodes * fork.horizon
    trials = FORK_TRIALS * len(fork.scenes)
    found = kind(
        total_steps=_fork_steps(fork),
        episodes=fork.episodes,
        horizon=fork.horizon,
        trials=trials,
        agent=AgentConfig(
            act="posterior",
            hidden=64,
            encoder=64,
            critic=64,
            slopes=0.0,
            log_std_init=-0.5,
        ),
        ppo=PPOConfig(
            learning_rate=7e-4,
            final_learning_rate=1e-4,
            critic_learning_rate=7e-4,
            epochs=4,
            minibatches=max(FORK_MINIBATCHES, trials * steps // FORK_MINIBATCH),
            bptt=steps,
            entropy=2e-3,
            belief=0.5,
            boundary="cut",
        ),
    )
    return found if fork.lifetimes is None else _recall(found, fork.lifetimes)


def _recall(found: _Kind, life: Lifetimes) -> _Kind:
    """The same where contexts come again: an iteration is one round of whole slots.

    Where the place of an object tells contexts apart, that is learnt sooner.
    """
    steps = found.episodes * found.horizon
    trials = RECALL_STEPS // steps
    ppo = dataclasses.replace(
        found.ppo, minibatches=RECALL_MINIBATCHES, bptt=min(steps, RECALL_BPTT)
    )
    agent = found.agent
    if life.scene:
        agent = dataclasses.replace(agent, relevance_rate=SCENE_RATE)
    return dataclasses.replace(
        found,
        agent=agent,
        trials=trials if life.flat else max(trials // life.contexts, 1) * life.contexts,
        evaluate_every=0,
        ppo=ppo,
    )
