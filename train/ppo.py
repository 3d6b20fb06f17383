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
from agents.rl2 import RL2Agent
from agents.step_input import OBS
from train.finite import blame, warn_left_out
from train.long_term import LongTerm, MinibatchView, add_capped, pull_gradient
from train.means import Means
from train.ppo_config import PPOConfig
from train.rollout import Rollout, Sequences, gae, normalise_per_task, step_discounts


@dataclass(frozen=True)
class Batch:
    """One minibatch of stretches: (step, stretch, …) tensors; `old_*` are of the acting policy."""

    inputs: Float[Tensor, "step n input"]
    actions: Float[Tensor, "step n action"]
    old_log_probs: Float[Tensor, "step n"]
    old_mean: Float[Tensor, "step n action"]
    advantages: Float[Tensor, "step n"]
    mask: Float[Tensor, "step n"]


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
        """Set both learning rates for `fraction` of training done, linearly."""
        start, end = self.config.learning_rate, self.config.final_learning_rate
        now = start + (end - start) * min(max(fraction, 0.0), 1.0)
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
        cut = Sequences(rollout.steps, rollout.rewards.shape[1], config.bptt)
        inputs = cut.cut(rollout.inputs).to(device)
        task_ids = rollout.task_ids.to(device)
        with torch.no_grad():
            hidden, starts = self._sweep(cut, inputs, rollout.recall)
            old_mean = self.agent.head(hidden)
            old_log_std = self.agent.head.log_std().clone()
            critic_inputs = self._critic_inputs(rollout, cut, inputs, hidden)
            ids = task_ids.repeat(cut.per_trial).expand(cut.length, -1)
            values = self._uncut(cut, self.critic(critic_inputs, ids))
            values = self.critic.to_reward_units(values, task_ids)
            discounts = step_discounts(
                rollout.steps, rollout.horizon, config.gamma, config.boundary
            )
            advantages = gae(rollout.rewards, values.cpu(), discounts, config.gae_lambda)
            targets = advantages + values.cpu()
            self.critic.update_targets(targets.to(device), task_ids)
            targets = cut.cut(self.critic.normalise_targets(targets.to(device), task_ids))
            advantages = cut.cut(normalise_per_task(advantages, rollout.task_ids, rollout.usable))
        actions = cut.cut(rollout.actions).to(device)
        goals = rollout.goals.to(device).repeat(cut.per_trial, 1)
        whole = Batch(
            inputs=inputs,
            actions=actions,
            old_log_probs=gaussian_log_prob(actions, old_mean, old_log_std),
            old_mean=old_mean,
            advantages=advantages.to(device),
            mask=cut.mask(rollout.usable).to(device),
        )
        acted = cut.cut(rollout.log_probs).to(device)
        metrics = Means()
        metrics.once("acting_error", ((acted - whole.old_log_probs).abs() * whole.mask).max())
        variance = (targets * whole.mask).square().sum() / whole.mask.sum().clamp(min=1)
        metrics.once("target_scale", variance.sqrt())
        aside = rng.spawn(1)[0] if long_term is not None else rng  # leaves PPO's own draws alone

        left_out: list[list[str]] = []
        for epoch in range(config.epochs):
            if epoch:
                with torch.no_grad():
                    starts = self._sweep(cut, inputs, rollout.recall)[1]
            kls = []
            minibatches = cut.minibatches(config.minibatches, rng)
            for number, index in enumerate(minibatches):
                batch = Batch(**{name: value[:, index] for name, value in vars(whole).items()})
                outputs, _ = self.agent.unroll(batch.inputs, starts[index])
                loss, found = policy_loss(outputs.mean, outputs.log_std, old_log_std, batch, config)
                error = self.critic(critic_inputs[:, index], ids[:, index]) - targets[:, index]
                weight = batch.mask / batch.mask.sum().clamp(min=1.0)
                value_loss = (error.square() * weight).sum()
                loss = loss + config.value * value_loss
                if config.belief:
                    believed = self.belief.errors(outputs.hidden, goals[index], ids[0, index])
                    found["belief_loss"] = (believed * weight).sum()
                    loss = loss + config.belief * found["belief_loss"]
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

    def _sweep(
        self, cut: Sequences, inputs: Tensor, recall: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One pass over whole trials: the memory's outputs (L, N, H) and each stretch's start."""
        states, outputs = [], []
        state = self.agent.initial_state(cut.trials, recall)
        for number in range(cut.per_trial):
            states.append(state)
            stretch = inputs[:, number * cut.trials : (number + 1) * cut.trials]
            hidden, state = self.agent.remember(stretch, state)
            outputs.append(hidden)
        return torch.cat(outputs, dim=1), torch.cat(states)

    def _critic_inputs(
        self, rollout: Rollout, cut: Sequences, inputs: Tensor, hidden: Tensor
    ) -> Tensor:
        """The critic's inputs, cut into stretches like everything else."""
        device = inputs.device
        obs = self.agent.encoder.normaliser(rollout.inputs[..., OBS].to(device))
        return cut.cut(
            self.critic.inputs(
                obs,
                None if self.critic.privileged else self._uncut(cut, hidden),
                rollout.task_ids.to(device),
                rollout.goals.to(device),
                rollout.clock().to(device),
            )
        )

    @staticmethod
    def _uncut(cut: Sequences, values: Tensor) -> Tensor:
        """Inverse of `Sequences.cut`: (L, N, …) → (T, B, …)."""
        rest = values.shape[2:]
        values = values.reshape(cut.length, cut.per_trial, cut.trials, *rest).transpose(0, 1)
        return values.reshape(-1, cut.trials, *rest)[: cut.steps]

    def _step(
        self, loss: Tensor, pull: Tensor | None = None, cap: float = 0.0
    ) -> dict[str, Tensor | float]:
        """One optimiser step, unless a gradient is not finite: then nothing is changed.

        The gradient of `pull` is scaled down to at most `cap` times the norm of the agent's.
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
