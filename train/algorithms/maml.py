"""MAML as a `Learner`: weights from which one policy-gradient step adapts to a task.

A trial's episodes come in batches of R. The first is acted by the weights that are learnt, each
next one by the weights after an inner step on the batch before. The outer step learns from the last
batch. MAML-TRPO (Finn et al. 2017, arXiv 1703.03400), ANIL (Raghu et al. 2020, arXiv 1909.09157)
and ProMP (Rothfuss et al. 2018, arXiv 1810.06784).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from agents.heads import gaussian_log_prob
from agents.input_layout import OBS, OBS_DIM
from agents.rl2 import RL2Agent
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.trials.trial import Trial
from memory.adam import Adam
from memory.gaussian import gaussian_kl
from memory.restored import adam_tensors, check_tensors, restore_adam
from train.algorithms.adaptation import (
    Network,
    Samples,
    Weights,
    adapt,
    adapted_names,
    advantages,
)
from train.algorithms.batches import cut, in_turn, part, single_episodes, stacked
from train.algorithms.learner import Run
from train.algorithms.maml_options import MamlOptions
from train.algorithms.rollout import Rollout
from train.algorithms.trust_region import trust_region_step
from train.collect import acting_policy
from train.long_term.contract import LongTerm
from train.run.config import Config
from train.run.maml_config import MamlConfig


class Maml:
    """Owns the start of adaptation, `agent`, and changes it in place.

    Args:
        agent: without memory; what follows the observation in its inputs is not seen.
        options: see MamlOptions.
    """

    def __init__(self, agent: RL2Agent, options: MamlOptions) -> None:
        self.agent, self.options = agent, options
        with torch.no_grad():
            agent.encoder.layer.weight[:, OBS_DIM:] = 0.0
        self.network = Network(agent)
        self.names = adapted_names(list(self.weights()), anil=options.anil)
        self.updates = torch.zeros(1)
        self.optimiser: Adam | None = None
        if options.outer == "ppo":
            self.optimiser = Adam(self.network.parameters(), lr=options.outer_learning_rate)

    def weights(self) -> Weights:
        """The weights that the outer step learns, as they are now."""
        return {name: weight.detach() for name, weight in self.network.named_parameters()}

    def policy(self) -> Policy:
        """The policy before adaptation."""
        return acting_policy(self.agent)

    def set_progress(self, fraction: float) -> None:
        """No step size falls."""

    def collect(self, run: Run, trials: Sequence[Trial]) -> Rollout:
        """Batch after batch, each trial's by the weights that have been adapted to it."""
        batches: list[Rollout] = []
        policies = [self.policy()]
        for batch in cut(trials[0].episodes, self.options.rollouts):
            singles = single_episodes(trials, batch)
            share = len(singles) // len(policies)
            parts = [
                run(policy, singles[n * share : (n + 1) * share])
                for n, policy in enumerate(policies)
            ]
            batches.append(stacked(Rollout.join(parts), len(batch)))
            if batch.stop < trials[0].episodes:
                policies = self._policies(self._follow(batches)[1])
        return in_turn(batches)

    def _policies(self, weights: Weights) -> list[Policy]:
        """Policies of weights that have a first axis of trials."""
        network, found = copy.deepcopy(self.network), []
        for trial in range(len(next(iter(weights.values())))):
            one = {name: weight[trial] for name, weight in weights.items()}
            network.load_state_dict(one, strict=False)
            found.append(acting_policy(network.agent))
        return found

    @torch.no_grad()
    def _follow(self, batches: Sequence[Rollout]) -> tuple[list[Samples], Weights]:
        """What each batch teaches, and each trial's weights after an inner step on each of them."""
        count = len(batches[0].usable)
        weights = {
            name: weight.expand(count, *weight.shape) for name, weight in self.weights().items()
        }
        found = []
        for batch in batches:
            found.append(self._samples(batch, weights, inner=True))
            weights = vmap(self._adapt)(weights, found[-1])
        return found, weights

    def _adapt(self, weights: Weights, batch: Samples) -> Weights:
        options = self.options
        return adapt(
            self.network,
            weights,
            batch,
            names=self.names,
            rate=options.inner_learning_rate,
            ratios=options.outer == "ppo",
        )

    @torch.no_grad()
    def _samples(self, batch: Rollout, weights: Weights, *, inner: bool) -> Samples:
        """A batch, with its own advantages and the outputs of the weights that acted in it.

        Trials with a physics fault are zeros: their weights are not adapted. On FORK the inner step
        sees what an agent is shown there, the outcome of each attempt; the reward for training is
        the outer step's alone.
        """
        rewards = batch.rewards
        if inner and batch.targets is not None:
            rewards = torch.zeros_like(rewards)
            rewards[batch.horizon - 1 :: batch.horizon] = batch.success_by_episode()

        def by_task(values: Tensor) -> Tensor:
            rows = values.transpose(0, 1)
            usable = batch.usable.reshape(-1, *[1] * (rows.dim() - 1))
            return torch.where(usable, rows, 0.0)

        inputs, actions = by_task(batch.inputs), by_task(batch.actions)
        shape = len(inputs), batch.episodes, batch.horizon
        obs = self.agent.encoder.normaliser(inputs[..., OBS]).reshape(*shape, OBS_DIM)
        gained = advantages(obs, by_task(rewards).reshape(shape), self.options.gamma)
        mean, log_std = vmap(self._outputs)(weights, inputs)
        log_probs = vmap(gaussian_log_prob)(actions, mean, log_std)
        return Samples(inputs, actions, gained.flatten(1), log_probs, mean, log_std)

    def _outputs(self, weights: Weights, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return functional_call(self.network, weights, (inputs,))

    def update(
        self, rollout: Rollout, rng: np.random.Generator, long_term: LongTerm | None = None
    ) -> dict[str, float]:
        """One outer step from one iteration; see `Learner.update`. Nothing is drawn."""
        rollout = rollout.without_faults()
        if not len(rollout.task_ids):
            return {}
        parts = [part(rollout, few) for few in cut(rollout.episodes, self.options.rollouts)]
        before, weights = self._follow(parts[:-1])
        after = self._samples(parts[-1], weights, inner=False)
        learn = self._by_trust_region if self.optimiser is None else self._by_clipping
        found = learn(before, after)
        self.agent.head.project()
        self.updates += 1
        acted = parts[-1].log_probs.transpose(0, 1)
        returns = [few.by_episode(few.rewards).sum(dim=1).mean() for few in (parts[0], parts[-1])]
        return found | {
            "acting_error": float((acted - after.log_probs).abs().max()),
            "return_gain": float(returns[1] - returns[0]),
            "std": float(self.agent.head.log_std().exp().mean().detach()),
        }

    def objective(
        self, weights: Weights, before: Sequence[Samples], after: Samples
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The outer loss at `weights`, through every trial's inner steps.

        Args:
            weights: the start of adaptation.
            before: batches of all trials, (trial, step, …), one for each inner step.
            after: the batch that the adapted weights acted in.

        Returns:
            Means over trials: the loss, KL(old ‖ new) of the adapted policies, and the same before
            adaptation.
        """

        def one(before: list[Samples], after: Samples) -> tuple[Tensor, Tensor, Tensor]:
            first, own = before[0], weights
            start = self._outputs(own, first.inputs)
            for batch in before:
                own = self._adapt(own, batch)
            mean, log_std = self._outputs(own, after.inputs)
            ratio = (gaussian_log_prob(after.actions, mean, log_std) - after.log_probs).exp()
            gain = ratio * after.advantages
            if self.options.outer == "ppo":
                clip = self.options.outer_clip
                clipped = ratio.clamp(1 - clip, 1 + clip) * after.advantages
                gain = torch.minimum(gain, clipped)
            kl = gaussian_kl(after.mean, after.log_std, mean, log_std).mean()
            moved = gaussian_kl(first.mean, first.log_std, *start).mean()
            return -gain.mean(), kl, moved

        loss, kl, moved = vmap(one)(list(before), after)
        return loss.mean(), kl.mean(), moved.mean()

    def _by_trust_region(self, before: Sequence[Samples], after: Samples) -> dict[str, float]:
        options = self.options
        step = trust_region_step(
            lambda weights: self.objective(weights, before, after)[:2],
            self.weights(),
            delta=options.delta,
            iterations=options.conjugate_gradients,
        )
        if not step.healthy:
            return {"skipped_steps": 1.0}
        self.network.load_state_dict(step.weights, strict=False)
        return {
            "loss": step.after,
            "improvement": step.before - step.after,
            "kl": step.kl,
            "tries": float(step.tries),
            "accepted": float(step.accepted),
            "grad_norm": step.grad_norm,
            "skipped_steps": 0.0,
        }

    def _by_clipping(self, before: Sequence[Samples], after: Samples) -> dict[str, float]:
        """ProMP: several steps on the same data, which the ratios and the inner KL keep near."""
        assert self.optimiser is not None
        losses, skipped, norm, kl = [], 0, torch.zeros(()), torch.zeros(())
        for _ in range(self.options.outer_steps):
            self.optimiser.zero_grad(set_to_none=True)
            weights: Weights = dict(self.network.named_parameters())
            loss, kl, moved = self.objective(weights, before, after)
            (loss + self.options.inner_kl * moved).backward()
            norm = torch.nn.utils.get_total_norm([w.grad for w in weights.values()])  # type: ignore[misc]
            if not bool(torch.isfinite(norm)):
                skipped += 1
                continue
            losses.append(float(loss.detach()))
            self.optimiser.step()
            self.agent.head.project()
        if not losses:
            return {"skipped_steps": float(skipped)}
        return {
            "loss": losses[-1],
            "improvement": losses[0] - losses[-1],
            "kl": float(kl.detach()),
            "grad_norm": float(norm),
            "skipped_steps": float(skipped),
        }

    def observe(self, rollout: Rollout) -> None:
        """Renew the normaliser of observations."""
        self.agent.encoder.normaliser.update(rollout.usable_obs())

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Groups ``agent``, ``maml`` and, with an optimiser, ``optimiser``."""
        found = {"agent": self.agent.state_dict(), "maml": {"updates": self.updates}}
        if self.optimiser is not None:
            found["optimiser"] = adam_tensors(self.optimiser)
        return found

    def restore(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Inverse of `tensors`. Raises KeyError or ValueError where they are of another kind."""
        check_tensors(tensors["agent"], self.agent.state_dict())
        check_tensors(tensors["maml"], {"updates": self.updates})
        if self.optimiser is not None:
            restore_adam(self.optimiser, tensors["optimiser"])
        self.agent.load_state_dict(tensors["agent"])
        self.updates.copy_(tensors["maml"]["updates"])


def make_maml(config: Config, suite: Suite) -> Maml:
    """MAML with a new agent; torch's generator draws the weights."""
    assert isinstance(config, MamlConfig), "Config.validate refuses it elsewhere"
    return Maml(RL2Agent(config.network), config.maml)
