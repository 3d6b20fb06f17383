"""Trials played again for a camera are the trials that were measured."""

import dataclasses

import numpy as np
import pytest

from envs.pool.pool import Policy, WorkerPool
from envs.trials.practice import Proposal
from envs.trials.trial import Trial, TrialRunner
from envs.viewing.captions import badge
from envs.viewing.playback import Playback
from tests.envs.viewing.scenes import PUSH, REACH, goal_of


def played(play: Playback) -> dict[str, np.ndarray]:
    """Rewards, successes and returns of all steps, (T, cells)."""
    rows = {"rewards": [], "successes": [], "totals": []}
    for step in play.moments():
        if step:
            rows["rewards"].append([cell.reward for cell in play.cells])
            rows["successes"].append([cell.success for cell in play.cells])
            rows["totals"].append([cell.total for cell in play.cells])
    play.close()
    return {name: np.array(values) for name, values in rows.items()}


class TestPlayback:
    def test_an_agent_plays_as_in_the_pool(self, pool: WorkerPool, agent: Policy) -> None:
        """To the last bit, also where only some trials of a block are watched."""
        trials = [REACH, PUSH, REACH, PUSH]
        measured = pool.run(trials, agent, lanes=3)
        for watched in ([0, 1, 2, 3], [1, 3]):
            slots = [trial if place in watched else None for place, trial in enumerate(trials)]
            seen = played(Playback(agent, slots, lanes=3))
            np.testing.assert_array_equal(
                seen["rewards"].astype(np.float32), measured.rewards[:, watched]
            )
            np.testing.assert_array_equal(seen["successes"], measured.successes[:, watched])

    @pytest.mark.parametrize("vary", [False, True])
    def test_proposed_tasks_play_as_in_the_pool(self, pool: WorkerPool, vary: bool) -> None:
        drawn = [Proposal.draw(seed, vary=vary) for seed in range(4)]
        trials = [dataclasses.replace(PUSH, proposal=proposal) for proposal in drawn]
        measured = pool.run(trials, Policy("random"), lanes=2)
        seen = played(Playback(Policy("random"), trials, lanes=2))
        np.testing.assert_array_equal(seen["rewards"].astype(np.float32), measured.rewards)

    def test_a_block_that_nobody_watches_costs_nothing(self, agent: Policy) -> None:
        play = Playback(agent, [None, None, REACH, PUSH], lanes=2)
        assert [cell.trial for cell in play.cells] == [REACH, PUSH]
        assert len(play._blocks) == 1

    def test_returns_start_anew_with_each_episode(self) -> None:
        seen = played(Playback(Policy("random"), [REACH], lanes=1))
        np.testing.assert_allclose(seen["totals"][59], seen["rewards"][:60].sum(axis=0))
        np.testing.assert_allclose(seen["totals"][-1], seen["rewards"][60:].sum(axis=0))

    def test_an_episodes_end_is_seen_before_its_reset(self) -> None:
        """The runner resets within the last step; the pose is the one that the step led to."""
        play, last = Playback(Policy("random"), [REACH], lanes=1), None
        cell = play.cells[0]
        for step in play.moments():
            if step == 60:
                cell.update_pose()
                last = cell.pose.qpos.copy()
                break
        longer = Trial(**{**REACH.to_json(), "horizon": 61, "goal": REACH.goal})
        runner = TrialRunner("reach-v3")
        runner.begin(longer)
        actor, inputs = Policy("random"), np.zeros((1, len(runner.inputs)), np.float32)
        block = Playback(actor, [longer], lanes=1)._blocks[0]
        for t in range(60):
            runner.step(block.actor.act(inputs, block.noise[t])[0][0].astype(np.float32))
        np.testing.assert_array_equal(last, runner.env.env.data.qpos)
        assert np.abs(last - cell.runner.env.env.data.qpos).max() > 1e-3  # which has been reset

    @pytest.mark.parametrize("task", ["door-lock-v3", "sweep-v3"])
    def test_goal_markers_are_where_the_goal_is(self, task: str) -> None:
        """Official drawing has them up to 80 cm elsewhere for these tasks."""
        play = Playback(Policy("random"), [goal_of(task)], lanes=1)
        cell = play.cells[0]
        cell.update_pose()
        name, place = cell.runner.env.env._target_site_config[0]
        np.testing.assert_allclose(cell.pose.site(name).xpos, place)
        np.testing.assert_allclose(cell.target, place)
        assert np.linalg.norm(cell.runner.env.env.data.site(name).xpos - place) > 0.05
        play.close()

    def test_a_fault_freezes_the_trial(self, monkeypatch: pytest.MonkeyPatch) -> None:
        play = Playback(Policy("random"), [REACH], lanes=1)
        cell, moments = play.cells[0], play.moments()
        for _ in range(5):
            next(moments)
        cell.runner.env.env.data.qvel[:] = 1e12
        cell.succeeded_at[-1] = 1
        next(moments)
        assert cell.fault
        assert badge(cell) == "PHYSICS FAULT"
        assert cell.succeeded_at == [None]
        total = cell.total
        next(moments)
        assert (cell.step, cell.reward, cell.total) == (6, 0.0, total)

    def test_a_non_finite_action_names_the_trial(self, agent: Policy) -> None:
        broken = {**agent.weights, "head.bias": np.full(4, np.nan, np.float32)}
        play = Playback(Policy("agent", "gru", broken), [REACH, PUSH], lanes=2)
        with pytest.raises(FloatingPointError, match="reach-v3, goal 3, episode 1, step 0"):
            played(play)

    def test_trials_of_different_length_are_refused(self) -> None:
        other = Trial(**{**PUSH.to_json(), "horizon": 61, "goal": PUSH.goal})
        with pytest.raises(ValueError, match="same episodes and horizon"):
            Playback(Policy("random"), [REACH, other], lanes=1)
