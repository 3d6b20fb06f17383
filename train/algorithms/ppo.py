"""The PPO meta-trainer: one update of the agent from one iteration's trials.

PPO with a clipped surrogate (Schulman et al. 2017, arXiv 1707.06347) over truncated BPTT: every
stretch starts from the memory that the current weights have there, recomputed once per epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agents.belief import Belief
from agents.heads import Critic, gaussian_entropy, gaussian_log_prob
from agents.input_layout import OBS
from agents.rl2 import RL2Agent
from train.algorithms.means import Means
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import Rollout, Sequences, gae, normalise_per_task, step_discounts
from train.long_term.contract import LongTerm, MinibatchView, add_capped, pull_gradient
from train.run.finite import blame, warn_left_out


@dataclass(frozen=True)
class Batch:
    """Stretches, or whole trials: (step, stretch or trial, …); `old_*` are of the acting policy."""

    inputs: Float[Tensor, "step n input"]
    actions: Float[Tensor, "step n action"]
    old_log_probs: Float[Tensor, "step n"]
    old_mean: Float[Tensor, "step n action"]
    advantages: Float[Tensor, "step n"]
    mask: Float[Tensor, "step n"]
    targets: Float[Tensor, "step n"]
    critic_inputs: Float[Tensor, "step n critic"]


def policy_loss(
    mean: Float[Tensor, "step n action"],
    log_std: Float[Tensor, " action"],
    old_log_std: Float[Tensor, " action"],
    batch: Batch,
    config: PPOConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate minus entropy bonus, averaged over the real steps; pure.

    Returns:
        The loss and its diagnostics: KL(old || new) in nats, clipped fraction, |ratio - 1|.
    """
    weight = batch.mask / batch.mask.sum().clamp(min=1.0)
    log_ratio = gaussian_log_prob(batch.actions, mean, log_std) - batch.old_log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    surrogate = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
    entropy = gaussian_entropy(log_std)
    loss = -(surrogate * weight).sum() - config.entropy * entropy
    with torch.no_grad():
        variance = (2 * log_std).exp()
        distance = ((2 * old_log_std).exp() + (batch.old_mean - mean) ** 2) / (2 * variance)
        kl = (log_std - old_log_std + distance - 0.5).sum(-1)
        outside = ((ratio - 1).abs() > config.clip).float()
    return loss, {
        "kl": (kl * weight).sum(),
        "clip_fraction": (outside * weight).sum(),
        "entropy": entropy.detach(),
        "ratio_error": ((ratio.detach() - 1).abs() * batch.mask).max(),
    }


class PPO:
    """Owns the optimiser; the modules are passed in and changed in place.

    Args:
        agent: policy to train.
        critic: its critic.
        belief: its goal readout.
        config: see PPOConfig.
    """

    def __init__(self, agent: RL2Agent, critic: Critic, belief: Belief, config: PPOConfig) -> None:
        self.agent, self.critic, self.belief, self.config = agent, critic, belief, config
        self.groups = (
            [w for w in (*agent.parameters(), *belief.parameters()) if w.requires_grad],
            list(critic.parameters()),
        )
        self.optimiser = torch.optim.Adam([{"params": group} for group in self.groups], eps=1e-5)
        self.set_progress(0.0)

    def set_progress(self, fraction: float) -> None:
        """Set both learning rates for `fraction` of training done."""
        start, end = self.config.learning_rate, self.config.final_learning_rate
        fallen = 1.0 - (1.0 - fraction) / self.config.anneal
        now = start + (end - start) * min(max(fallen, 0.0), 1.0)
        policy, critic = self.optimiser.param_groups
        policy["lr"] = now
        critic["lr"] = now / start * self.config.critic_learning_rate if start else 0.0

    def update(
        self,
        rollout: Rollout,
        rng: np.random.Generator,
        long_term: LongTerm | None = None,
    ) -> dict[str, float]:
        """Learn from one rollout.

        Args:
            rollout: trials acted by the agent's present weights.
            rng: shuffles the stretches.
            long_term: what keeps old knowledge; its loss pulls at every minibatch, up to its cap.

        Returns:
            Metrics, averaged over minibatches unless the name says otherwise; none where physics
            faults left no trial to learn from. A minibatch whose gradient is not finite is left
            out of weights and averages, counted in ``skipped_steps`` and named in a warning.
        """
        config, device = self.config, next(self.agent.parameters()).device
        rollout = rollout.without_faults()
        if not len(rollout.task_ids):
            return {}
        inputs, task_ids = rollout.inputs.to(device), rollout.task_ids.to(device)
        actions, usable = rollout.actions.to(device), rollout.usable.to(device)
        cut = self._cut(rollout, rng)
        with torch.no_grad():
            hidden, starts = self._sweep(cut, inputs, rollout.recall)
            old_mean = self.agent.head(hidden)
            old_log_std = self.agent.head.log_std().clone()
            critic_inputs = self._critic_inputs(rollout, inputs, hidden)
            values = self.critic(critic_inputs, task_ids.expand(rollout.steps, -1))
            values = self.critic.to_reward_units(values, task_ids).cpu()
            discounts = step_discounts(
                rollout.steps, rollout.horizon, config.gamma, config.boundary
            )
            advantages = gae(rollout.rewards, values, discounts, config.gae_lambda)
            targets = (advantages + values).to(device)
            self.critic.update_targets(targets, task_ids)
            targets = self.critic.normalise_targets(targets, task_ids)
            advantages = normalise_per_task(advantages, rollout.task_ids, rollout.usable)
        whole = Batch(
            inputs=inputs,
            actions=actions,
            old_log_probs=gaussian_log_prob(actions, old_mean, old_log_std),
            old_mean=old_mean,
            advantages=advantages.to(device),
            mask=usable.float().expand(rollout.steps, -1),
            targets=targets,
            critic_inputs=critic_inputs,
        )
        acted = rollout.log_probs.to(device)
        metrics = Means()
        metrics.once("acting_error", ((acted - whole.old_log_probs).abs() * whole.mask).max())
        variance = (targets * whole.mask).square().sum() / whole.mask.sum().clamp(min=1)
        metrics.once("target_scale", variance.sqrt())
        aside = rng.spawn(1)[0] if long_term is not None else rng  # leaves PPO's own draws alone

        left_out: list[list[str]] = []
        for epoch in range(config.epochs):
            if epoch:
                cut = self._cut(rollout, rng)
                with torch.no_grad():
                    starts = self._sweep(cut, inputs, rollout.recall)[1]
            stretches = {name: cut.cut(value) for name, value in vars(whole).items()}
            kls = []
            minibatches = cut.minibatches(config.minibatches, rng)
            for number, index in enumerate(minibatches):
                batch = Batch(**{name: value[:, index] for name, value in stretches.items()})
                trials = cut.trials_of(index)
                outputs, _ = self.agent.unroll(batch.inputs, starts[index])
                loss, found = policy_loss(outputs.mean, outputs.log_std, old_log_std, batch, config)
                ids = task_ids[trials].expand(cut.length, -1)
                error = self.critic(batch.critic_inputs, ids) - batch.targets
                weight = batch.mask / batch.mask.sum().clamp(min=1.0)
                value_loss = (error.square() * weight).sum()
                loss = loss + config.value * value_loss
                if config.belief:
                    goals = rollout.goals[trials].to(device)
                    believed = self.belief.errors(outputs.hidden, goals, ids[0])
                    found["belief_loss"] = (believed * weight).sum()
                    loss = loss + config.belief * found["belief_loss"]
                if config.kind and self.belief.kind is not None and rollout.kinds is not None:
                    kinds = rollout.kinds[trials].to(device)
                    told = self.belief.kind_errors(outputs.hidden, kinds)
                    found["kind_loss"] = (told * weight).sum()
                    loss = loss + config.kind * found["kind_loss"]
                pull = None
                if long_term is not None:
                    part = (batch.inputs, starts[index], outputs, batch.mask, index, rollout, cut)
                    place = (epoch, number, len(minibatches), aside)
                    view = MinibatchView(self.agent, *part, *place)
                    pull = long_term.loss(view)
                if epoch == 0 and not kls:
                    metrics.once("first_ratio_error", found["ratio_error"])
                found.pop("ratio_error")
                found |= {"loss": loss, "value_loss": value_loss}
                cap = 0.0 if long_term is None else long_term.cap
                stepped = self._step(loss, pull, cap)
                if stepped["skipped_steps"]:
                    left_out.append(blame(found, (self.agent, self.critic, self.belief)))
                else:
                    metrics.add(found)
                    kls.append(float(found["kl"]))
                metrics.add(stepped)
            metrics.once("epochs", epoch + 1)
            kl = float(np.mean(kls)) if kls else 0.0
            if kl > config.kl_stop:
                break
        warn_left_out(left_out)
        metrics.once("kl_last", kl)
        metrics.once("std", old_log_std.exp().mean())
        metrics.once("learning_rate", self.optimiser.param_groups[0]["lr"])
        return metrics.result()

    def _cut(self, rollout: Rollout, rng: np.random.Generator) -> Sequences:
        """Where this pass truncates back-propagation: elsewhere in each, if `stagger` is set."""
        length = self.config.bptt
        staggered = self.config.stagger and length < rollout.steps
        offset = int(rng.integers(length)) if staggered else 0
        return Sequences(rollout.steps, len(rollout.task_ids), length, offset)

    def _sweep(
        self, cut: Sequences, inputs: Tensor, recall: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One pass over whole trials: the memory's outputs (T, B, H) and each stretch's start."""
        states, outputs = [], []
        state = self.agent.initial_state(cut.trials, recall)
        for begin, end in cut.bounds:
            states.append(state)
            hidden, state = self.agent.remember(inputs[begin:end], state)
            outputs.append(hidden)
        return torch.cat(outputs), torch.cat(states)

    def _critic_inputs(self, rollout: Rollout, inputs: Tensor, hidden: Tensor) -> Tensor:
        """The critic's inputs at every step, (T, B, …)."""
        device = inputs.device
        return self.critic.inputs(
            self.agent.encoder.normaliser(inputs[..., OBS]),
            None if self.critic.privileged else hidden,
            rollout.task_ids.to(device),
            rollout.goals.to(device),
            rollout.clock().to(device),
        )

    def _step(
        self, loss: Tensor, pull: Tensor | None = None, cap: float = 0.0
    ) -> dict[str, Tensor | float]:
        """One optimiser step, unless a gradient is not finite: then nothing is changed.

        The gradient of `pull` is scaled down to at most `cap` times the norm of the agent's and its
        readouts'.
        """
        self.optimiser.zero_grad(set_to_none=True)
        pulled = {} if pull is None else pull_gradient(pull, self.groups[0])
        loss.backward()
        found: dict[str, Tensor | float] = {}
        if pull is not None:
            found = {"pull_loss": pull, **add_capped(pulled, cap, self.groups[0])}
        norms = [
            torch.nn.utils.get_total_norm([p.grad for p in group if p.grad is not None])
            for group in self.groups
        ]
        healthy = bool(torch.isfinite(sum(norms)))  # type: ignore[arg-type]
        if healthy:
            for group, norm in zip(self.groups, norms, strict=True):
                torch.nn.utils.clip_grads_with_norm_(group, self.config.max_grad_norm, norm)
            self.optimiser.step()
            self.agent.head.project()
        return {
            "grad_norm": norms[0] if healthy else 0.0,
            "critic_grad_norm": norms[1] if healthy else 0.0,
            "skipped_steps": float(not healthy),
            **found,
        }
