"""PPO as a `Learner`: one update of the agent from one iteration's trials.

PPO with a clipped surrogate (Schulman et al. 2017, arXiv 1707.06347) over truncated BPTT: every
stretch starts from the memory that the current weights have there, recomputed once per pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from agents.belief import Belief, goal_statistics
from agents.heads import Critic, gaussian_entropy, gaussian_log_prob
from agents.input_layout import AIM, OBS
from agents.rl2 import RL2Agent, Unrolled
from envs.metaworld.suites import Suite
from envs.pool.pool import Policy
from envs.trials import practice
from envs.trials.trial import Trial
from memory.adam import Adam
from memory.gaussian import gaussian_kl
from memory.restored import adam_tensors, check_tensors, restore_adam
from train.algorithms.learner import Run, learner_device
from train.algorithms.ppo_config import PPOConfig
from train.algorithms.rollout import (
    Rollout,
    Sequences,
    explained_variance,
    gae,
    normalise_per_task,
    pad_goals,
    step_discounts,
)
from train.collect import acting_policy
from train.learners.ranks import ALONE, Ranks
from train.long_term.contract import LongTerm, MinibatchView, add_capped, pull_gradient
from train.run.config import Config
from train.run.rollback import blame, warn_left_out


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
    steps: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate minus entropy bonus, averaged over the real steps; pure.

    Args:
        mean: of the policy that learns.
        log_std: of the same.
        old_log_std: of the policy that acted; the rest of it is in the batch.
        batch: what was done.
        config: clip and entropy bonus.
        steps: real steps of the whole minibatch if the batch is one learner's part of it: then the
            parts' losses, and what is found, add up to those of the whole.

    Returns:
        The loss and its diagnostics: KL(old || new) in nats, clipped fraction, |ratio - 1|.
    """
    own = batch.mask.sum()
    steps = (own if steps is None else steps).clamp(min=1.0)
    weight, part = batch.mask / steps, own / steps
    log_ratio = gaussian_log_prob(batch.actions, mean, log_std) - batch.old_log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    surrogate = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
    entropy = gaussian_entropy(log_std) * part
    loss = -(surrogate * weight).sum() - config.entropy * entropy
    with torch.no_grad():
        kl = gaussian_kl(batch.old_mean, old_log_std, mean, log_std)
        outside = ((ratio - 1).abs() > config.clip).float()
    return loss, {
        "kl": (kl * weight).sum(),
        "clip_fraction": (outside * weight).sum(),
        "entropy": entropy.detach(),
        "ratio_error": ((ratio.detach() - 1).abs() * batch.mask).max(),
    }


class PPO:
    """Owns the optimiser; the modules are passed in and changed in place.

    Where several learners share a run (`ranks`), each finds the memory of its share of the trials
    and the gradient of its share of each minibatch; memories are gathered, gradients summed.

    Args:
        agent: policy to train.
        critic: its critic.
        belief: its goal readout.
        config: see PPOConfig.
    """

    def __init__(self, agent: RL2Agent, critic: Critic, belief: Belief, config: PPOConfig) -> None:
        self.agent, self.critic, self.belief, self.config = agent, critic, belief, config
        self.ranks: Ranks = ALONE
        self.groups = (
            [w for w in (*agent.parameters(), *belief.parameters()) if w.requires_grad],
            list(critic.parameters()),
        )
        self.optimiser = Adam([{"params": group} for group in self.groups], eps=1e-5)
        self.set_progress(0.0)

    def set_progress(self, fraction: float) -> None:
        """Set both learning rates for `fraction` of training done."""
        start, end = self.config.learning_rate, self.config.final_learning_rate
        fallen = 1.0 - (1.0 - fraction) / self.config.anneal
        now = start + (end - start) * min(max(fallen, 0.0), 1.0)
        policy, critic = self.optimiser.param_groups
        policy["lr"] = now
        critic["lr"] = now / start * self.config.critic_learning_rate if start else 0.0

    def policy(self) -> Policy:
        """The agent's present weights."""
        return acting_policy(self.agent)

    def collect(self, run: Run, trials: Sequence[Trial]) -> Rollout:
        """All trials by the present weights."""
        return run(self.policy(), trials)

    def observe(self, rollout: Rollout) -> None:
        """Renew the normaliser of observations."""
        self.agent.encoder.normaliser.update(rollout.usable_obs())

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
        rollout = rollout.without_faults()
        if not len(rollout.task_ids):
            return {}
        cut = self._cut(rollout, rng)
        data, starts = self._prepare(rollout, cut)
        metrics = _Metrics()
        metrics.once("acting_error", data.acting_error())
        metrics.once("target_scale", data.target_scale())
        metrics.once("explained_variance", data.explained_variance)
        for name, share in data.knew.items():
            metrics.once(name, share)
        aside = rng.spawn(1)[0] if long_term is not None else rng  # leaves PPO's own draws alone
        left_out: list[list[str]] = []
        kl = 0.0
        for epoch in range(self.config.epochs):
            if epoch:
                cut = self._cut(rollout, rng)
                with torch.no_grad():
                    starts = self._sweep(cut, data.whole.inputs, rollout.recall, rollout.stores)[1]
            minibatches = cut.minibatches(self.config.minibatches, rng)
            one = _Pass(data, cut, starts, epoch, minibatches, aside)
            kl = self._learn(one, long_term, metrics, left_out)
            metrics.once("epochs", epoch + 1)
            if kl > self.config.kl_stop:
                break
        warn_left_out(left_out)
        metrics.once("kl_last", kl)
        metrics.once("std", data.old_log_std.exp().mean())
        metrics.once("learning_rate", self.optimiser.param_groups[0]["lr"])
        return metrics.result()

    @torch.no_grad()
    def _prepare(self, rollout: Rollout, cut: Sequences) -> tuple[_Data, Tensor]:
        """What stays the same in all passes, and the memory before each stretch of the first."""
        config, device = self.config, next(self.agent.parameters()).device
        inputs, task_ids = rollout.inputs.to(device), rollout.task_ids.to(device)
        actions, usable = rollout.actions.to(device), rollout.usable.to(device)
        hidden, starts = self._sweep(cut, inputs, rollout.recall, rollout.stores)
        hidden = self.ranks.gather(hidden, cut.trials, dim=1)
        old_mean = self.agent.mean(hidden, inputs)
        old_log_std = self.agent.head.log_std().clone()
        critic_inputs = self._critic_inputs(rollout, inputs, hidden)
        values = self.critic(critic_inputs, task_ids.expand(rollout.steps, -1))
        values = self.critic.to_reward_units(values, task_ids).cpu()
        discounts = step_discounts(rollout.steps, rollout.horizon, config.gamma, config.boundary)
        advantages = gae(rollout.rewards, values, discounts, config.gae_lambda)
        explained = explained_variance(advantages, values, rollout.usable)
        targets = (advantages + values).to(device)
        self.critic.update_targets(targets, task_ids)
        targets = self.critic.normalise_targets(targets, task_ids)
        advantages = normalise_per_task(advantages, rollout.kinds_of_task(), rollout.usable)
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
        taught, knew = None, {}
        if self.agent.belief is not None:
            truth, counts = rollout.taught()
            taught = truth.to(device), counts.to(device)
            knew = self._knew(rollout, hidden, inputs, *taught)
        data = _Data(rollout, task_ids, whole, old_log_std, explained, taught, knew)
        return data, starts

    def _learn(
        self,
        one: _Pass,
        long_term: LongTerm | None,
        metrics: _Metrics,
        left_out: list[list[str]],
    ) -> float:
        """One pass over the data. Returns the mean KL(old || new) of its minibatches, in nats."""
        stretches = {name: one.cut.cut(value) for name, value in vars(one.data.whole).items()}
        taught = one.taught() if self.config.belief else None
        kls: list[float] = []
        for number, whole in enumerate(one.minibatches):
            index, mask = whole[self.ranks.share(len(whole))], stretches["mask"][:, whole]
            batch = Batch(**{name: value[:, index] for name, value in stretches.items()})
            batch.mask.mul_(self.ranks.busy(len(whole)))
            outputs, _ = self.agent.unroll(batch.inputs, one.starts[index])
            trials = one.cut.trials_of(index)
            loss, found = self._loss(one.data, batch, outputs, trials, mask.sum())
            if taught is not None:
                truth, counts = taught
                known, weight = (mask * counts[:, whole]).sum(), batch.mask * counts[:, index]
                found["belief_loss"] = self._belief_loss(outputs, truth[:, index], weight, known)
                loss = loss + self.config.belief * found["belief_loss"]
            ratio_error = found.pop("ratio_error")
            if one.epoch == 0 and not kls:
                metrics.once("first_ratio_error", self.ranks.largest(ratio_error))
            pull = None
            if long_term is not None:
                pull = long_term.loss(self._view(one, number, index, batch, outputs))
                pull = None if pull is None else pull * (batch.mask.sum() / mask.sum())
            cap = 0.0 if long_term is None else long_term.cap
            stepped = self._step(loss, pull, cap, found)
            if stepped["skipped_steps"]:
                left_out.append(blame(found, (self.agent, self.critic, self.belief)))
                stepped = {"skipped_steps": stepped["skipped_steps"]}
            else:
                metrics.add(found)
                kls.append(float(found["kl"]))
            metrics.add(stepped)
        return float(np.mean(kls)) if kls else 0.0

    def _loss(
        self, data: _Data, batch: Batch, outputs: Unrolled, trials: Tensor, steps: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """PPO's loss with those of the critic and of the belief, and all of them by name.

        `steps` are the real ones of the whole minibatch, of which the batch may be a part.
        """
        config, rollout = self.config, data.rollout
        device = batch.inputs.device
        policy = outputs.mean, outputs.log_std, data.old_log_std
        loss, found = policy_loss(*policy, batch, config, steps)
        ids = data.task_ids[trials].expand(len(batch.mask), -1)
        error = self.critic(batch.critic_inputs, ids) - batch.targets
        weight = batch.mask / steps.clamp(min=1.0)
        value_loss = (error.square() * weight).sum()
        loss = loss + config.value * value_loss
        if config.belief and self.agent.belief is None:
            believed = self.belief.errors(outputs.hidden, rollout.goals[trials].to(device), ids[0])
            found["belief_loss"] = (believed * weight).sum()
            loss = loss + config.belief * found["belief_loss"]
        if config.kind and self.belief.kind is not None and rollout.kinds is not None:
            told = self.belief.kind_errors(outputs.hidden, rollout.kinds[trials].to(device))
            found["kind_loss"] = (told * weight).sum()
            loss = loss + config.kind * found["kind_loss"]
        return loss, found | {"loss": loss, "value_loss": value_loss}

    def _belief_loss(
        self, outputs: Unrolled, truth: Tensor, weight: Tensor, known: Tensor
    ) -> Tensor:
        """Negative log-likelihood of what is hidden in nats, a mean over the steps that teach it.

        `known` is how many the whole minibatch has of them.
        """
        assert self.agent.belief is not None
        errors = self.agent.belief.errors(outputs.hidden, truth)  # type: ignore[arg-type]
        return (errors * weight).sum() / known.clamp(min=1.0)

    def _knew(
        self, rollout: Rollout, hidden: Tensor, inputs: Tensor, truth: Tensor, counts: Tensor
    ) -> dict[str, float]:
        """Accuracy of the belief when it is read, in trials that do not practise.

        An attempt in which nothing is hidden, in another scene, has none.
        """
        assert self.agent.belief is not None
        aims, read, own = inputs[..., AIM], rollout.when_read, rollout.own.to(hidden.device)
        if not bool(own.any()):
            return {}
        found = self.agent.belief.knew(*(x[read][:, own] for x in (hidden, truth, aims)))
        counted = counts[read][:, own] > 0
        return {
            f"{name}/{e + 1}": float(values[e][counted[e]].mean())
            for name, values in found.items()
            for e in range(len(values))
            if bool(counted[e].any())
        }

    def _view(
        self, one: _Pass, number: int, index: Tensor, batch: Batch, outputs: Unrolled
    ) -> MinibatchView:
        """This learner's part of a minibatch as long-term memory sees it."""
        return MinibatchView(
            agent=self.agent,
            inputs=batch.inputs,
            starts=one.starts[index],
            outputs=outputs,
            mask=batch.mask,
            index=index,
            rollout=one.data.rollout,
            cut=one.cut,
            epoch=one.epoch,
            number=number,
            count=len(one.minibatches),
            rng=one.aside,
        )

    def _cut(self, rollout: Rollout, rng: np.random.Generator) -> Sequences:
        """Where this pass truncates back-propagation: elsewhere in each, if `stagger` is set."""
        length = self.config.bptt
        staggered = self.config.stagger and length < rollout.steps
        offset = int(rng.integers(length)) if staggered else 0
        return Sequences(rollout.steps, len(rollout.task_ids), length, offset)

    def _sweep(
        self,
        cut: Sequences,
        inputs: Tensor,
        recall: Tensor | None = None,
        stores: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One pass over whole trials: this learner's outputs of the memory, and all starts.

        Returns:
            The outputs (T, b, H) of its b trials, and each stretch's start, of all trials.
        """
        own = self.ranks.share(cut.trials)
        states, outputs, inputs = [], [], inputs[:, own]
        told = [None if known is None else known[own] for known in (recall, stores)]
        state = self.agent.initial_state(inputs.shape[1], *told)
        for begin, end in cut.bounds:
            states.append(state)
            hidden, state = self.agent.remember(inputs[begin:end], state)
            outputs.append(hidden)
        starts = self.ranks.gather(torch.stack(states), cut.trials, dim=1)
        return torch.cat(outputs), starts.flatten(0, 1)

    def _critic_inputs(self, rollout: Rollout, inputs: Tensor, hidden: Tensor) -> Tensor:
        """The critic's inputs at every step, (T, B, …)."""
        device = inputs.device
        return self.critic.inputs(
            self.agent.encoder.normaliser(inputs[..., OBS]),
            None if self.critic.privileged else hidden,
            rollout.task_ids.to(device),
            rollout.goals.to(device),
            rollout.clock().to(device),
            self._hints(rollout, inputs),
        )

    def _hints(self, rollout: Rollout, inputs: Tensor) -> Tensor | None:
        """True target, as an aim, and aim at each step (T, B, …); None without hidden targets."""
        if self.agent.belief is None:
            return None
        if rollout.targets is None:
            assert rollout.true_aims is not None
            shown = rollout.true_aims.to(inputs.device).expand(rollout.steps, -1, -1)
        else:
            truth = rollout.target_by_step().to(inputs.device)
            shown = one_hot(truth.clamp(min=0), self.agent.config.targets)
            shown = shown * (truth >= 0)[..., None]
        aim = inputs[..., AIM] if self.agent.body is not None else torch.zeros_like(shown)
        return torch.cat((shown, aim), dim=-1).to(inputs.dtype)

    def _step(
        self,
        loss: Tensor,
        pull: Tensor | None = None,
        cap: float = 0.0,
        found: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor | float]:
        """One optimiser step, unless a gradient is not finite: then nothing is changed.

        The gradient of `pull` is scaled down to at most `cap` times the norm of the agent's and its
        readouts'. Gradients, and what was `found`, become the sums over all learners.
        """
        self.optimiser.zero_grad(set_to_none=True)
        pulled = None if pull is None else pull_gradient(pull, self.groups[0])
        loss.backward()
        told: dict[str, Any] = {} if pull is None else {"pull_loss": pull.detach()}
        if self.ranks.count > 1:
            self._sum_up(pulled, told, {} if found is None else found)
        if pulled is not None:
            told |= add_capped(pulled, cap, self.groups[0])
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
            **told,
        }

    def _sum_up(self, pulled: dict[Any, Tensor] | None, *found: dict[str, Any]) -> None:
        """Make all gradients, and what was found, the sums over all learners, in one message.

        A weight may have a gradient on one learner alone: a share of trials that recall nothing
        does not reach the reader. So all learners send all weights, and which of them they have.
        """
        own = {w: w.grad for group in self.groups for w in group if w.grad is not None}
        slots = [(own, w) for group in self.groups for w in group]
        if pulled is not None:
            slots += [(pulled, w) for w in self.groups[0]]
        has = torch.tensor([float(w in given) for given, w in slots], device=slots[0][1].device)
        kept = [(numbers, name) for numbers in found for name in numbers]
        sent = [given[w] if w in given else torch.zeros_like(w) for given, w in slots]
        sums = self.ranks.total([*sent, has, *(numbers[name] for numbers, name in kept)])
        learners = sums[len(slots)].tolist()
        for (given, weight), total, some in zip(slots, sums, learners, strict=False):
            if some:
                given[weight] = total
        for weight, gradient in own.items():
            weight.grad = gradient
        for (numbers, name), total in zip(kept, sums[len(slots) + 1 :], strict=True):
            numbers[name] = total

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Groups ``agent``, ``critic``, ``belief`` and ``optimiser``."""
        return {
            "agent": self.agent.state_dict(),
            "critic": self.critic.state_dict(),
            "belief": self.belief.state_dict(),
            "optimiser": adam_tensors(self.optimiser),
        }

    def restore(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Inverse of `tensors`. Raises KeyError or ValueError where they are of another kind."""
        parts = {"agent": self.agent, "critic": self.critic, "belief": self.belief}
        for name, part in parts.items():
            check_tensors(tensors[name], part.state_dict())
        restore_adam(self.optimiser, tensors["optimiser"])
        for name, part in parts.items():
            part.load_state_dict(tensors[name])


def make_ppo(config: Config, suite: Suite) -> PPO:
    """PPO with a new agent, critic and belief; torch's generator draws the weights."""
    network = config.network
    agent = RL2Agent(network)
    goals = torch.stack([pad_goals(suite.train[task]) for task in suite.tasks])
    mean, scale = goal_statistics(goals)
    if config.proposal_share:  # their own outputs: the same scene may ask for the opposite
        others = torch.tensor(practice.MEAN), 1 / torch.tensor(practice.DEVIATION)
        mean, scale = (
            torch.cat((own, other.expand(len(own), -1)))
            for own, other in zip((mean, scale), others, strict=True)
        )
    critic = Critic(
        len(mean),
        goal_mean=mean,
        goal_scale=scale,
        memory_width=network.hidden,
        width=network.critic,
        privileged=network.privileged_critic,
        aims=network.aims,
    )
    told = config.proposal_share and config.ppo.kind
    belief = Belief(
        len(mean),
        goal_mean=mean,
        goal_scale=scale,
        hidden=network.hidden,
        kinds=1 + len(practice.PARTS) if told else 0,
    )
    for module in (agent, critic, belief):
        module.to(learner_device(config.device))
    return PPO(agent, critic, belief, config.ppo)


@dataclass(frozen=True)
class _Data:
    """What one iteration is learnt from: usable trials, whole, and the policy that acted."""

    rollout: Rollout
    task_ids: Tensor
    whole: Batch
    old_log_std: Tensor
    explained_variance: float
    taught: tuple[Tensor, Tensor] | None
    knew: dict[str, float]

    def acting_error(self) -> Tensor:
        """Largest difference between the log-probabilities of workers and learner."""
        acted = self.rollout.log_probs.to(self.whole.mask.device)
        return ((acted - self.whole.old_log_probs).abs() * self.whole.mask).max()

    def target_scale(self) -> Tensor:
        """Root mean square of the normalised value targets."""
        mask = self.whole.mask
        variance = (self.whole.targets * mask).square().sum() / mask.sum().clamp(min=1)
        return variance.sqrt()


@dataclass(frozen=True)
class _Pass:
    """One pass over the data: how it is cut, the memory before each stretch, the minibatches."""

    data: _Data
    cut: Sequences
    starts: Tensor
    epoch: int
    minibatches: list[Tensor]
    aside: np.random.Generator

    def taught(self) -> tuple[Tensor, Tensor] | None:
        """`Rollout.taught` of each stretch, (step, stretch, …); None where nothing is hidden."""
        if self.data.taught is None:
            return None
        truth, counts = map(self.cut.cut, self.data.taught)
        return truth, counts


class _Metrics:
    """Averages each metric over the minibatches; sums ``skipped_steps``."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = {}
        self._once: dict[str, float] = {}

    def once(self, name: str, value: Tensor | float) -> None:
        """Note a number of the whole iteration."""
        self._once[name] = float(value)

    def add(self, values: dict[str, Any]) -> None:
        """Note the numbers of one minibatch."""
        for name, value in values.items():
            number = float(value.detach() if isinstance(value, Tensor) else value)
            self._seen.setdefault(name, []).append(number)

    def result(self) -> dict[str, float]:
        """All of them, by name."""
        combined = {
            name: float(np.sum(values) if name == "skipped_steps" else np.mean(values))
            for name, values in self._seen.items()
        }
        return {**combined, **self._once}
