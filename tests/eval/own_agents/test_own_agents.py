"""Other people's agents are measured on our trials, with the numbers that ours would get."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agents.acting.own import checked_actions
from agents.input_layout import OBS, PREV_DONE
from envs.metaworld.suites import make_suite
from envs.pool.pool import Policy, WorkerPool
from eval import evaluate
from eval.goals.measure import measure
from eval.goals.results import Evaluation
from eval.own_agents import program
from eval.own_agents.load import load_own_agent
from eval.own_agents.program import AgentSettings
from eval.own_agents.runner import OwnAgentRunner
from eval.own_agents.sb3 import SB3Agent
from train.run.input_error import InputError

SMALL = ["--suite", "ML1", "--task", "reach-v3", "--workers", "1"]
SMALL += ["--goals", "3", "--episodes", "2", "--horizon", "12"]
AGENT = """
import numpy as np

class Still:
    def begin(self, trials):
        self.trials = trials

    def act(self, observations):
        return np.zeros((self.trials, 4))

class Deaf:
    pass

def the_class():
    return Still

def unsaved():
    return open("model.zip")

def wrong():
    still = Still()
    still.act = lambda observations: np.full((3, 4), np.nan)
    return still
"""


class Expert:
    """Replays the actions of a policy of ours, so that the outcomes must be its outcomes."""

    def __init__(self, actions: np.ndarray) -> None:
        self.actions, self.seen, self.begun = actions, [], []

    def begin(self, trials: int) -> None:
        self.first = sum(self.begun)
        self.begun.append(trials)
        self.step = 0

    def act(self, observations: np.ndarray) -> np.ndarray:
        rows = (self.first + np.arange(len(observations))) % self.actions.shape[1]
        self.seen.append(observations)
        self.step += 1
        return self.actions[self.step - 1, rows]


def test_the_same_actions_give_the_same_outcomes(pool: WorkerPool, monkeypatch) -> None:
    """In several rounds, the last of which is not full."""
    monkeypatch.setattr("eval.own_agents.runner.ROWS_PER_WORKER", 2)
    suite = make_suite("ML1", task="reach-v3", seed=1)
    how = {"goals": 3, "episodes": 2, "horizon": 60, "seed": 1}
    trials = suite.evaluation_trials("test", **how)
    batch = pool.run(trials, Policy("scripted"), lanes=4)
    theirs = Expert(batch.actions)
    runner = OwnAgentRunner(theirs, workers=1)
    found = measure(Policy("own"), suite, "test", **how, pool=runner)
    ours = measure(Policy("scripted"), suite, "test", **how, pool=pool)
    assert ours.success.any()
    assert found.to_json() == ours.to_json()
    assert theirs.begun == [2, 2]
    np.testing.assert_array_equal(np.stack(theirs.seen[:120])[:, 0], batch.inputs[:, 0])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"agent_of_{abs(hash(tmp_path))}"
    Path(f"{name}.py").write_text(AGENT)
    return name


def test_from_the_command_line_to_table_and_json(module: str, capsys) -> None:
    assert evaluate.main(["--agent", f"{module}:Still", *SMALL, "--no-scripted"]) == 0
    said = capsys.readouterr().out
    assert f"agent, {module}:Still" in said
    assert "random" in said
    (path,) = Path("runs").rglob("*.json")
    assert f"written: {path}" in said
    assert path.name == "eval-ML1-reach-v3-test-goals3-episodes2-horizon12-no-scripted.json"
    record = json.loads(path.read_text())
    assert list(record["policies"]) == [f"{module}:Still", "random"]
    assert record["suite"]["name"] == "ML1"
    assert np.shape(record["policies"][f"{module}:Still"]["outcomes"]["success"]) == (1, 3, 2)


def test_each_suite_and_goals_have_a_file_of_their_own() -> None:
    def name(**how: object) -> str:
        return AgentSettings(**how).what  # type: ignore[arg-type]

    assert name(suite="ML10") == "ML10"
    assert name(suite="ML1", task="push-v3") == "ML1-push-v3"
    assert name(suite="ML10", goals_seed=7) == "ML10-goals-seed7"
    tasks = ("reach-v3", "push-v3", "door-open-v3", "door-close-v3")
    many = name(suite="custom", tasks=tasks)
    assert many.startswith("custom-4-tasks-")
    assert many != name(suite="custom", tasks=tasks[::-1])
    assert name(suite="custom", tasks=tasks[:2]) == "custom-reach-v3+push-v3"


def test_the_result_is_written_before_it_is_shown(module: str, monkeypatch) -> None:
    """Whatever ends the program while it prints, what it measured is kept."""

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluation, "show", broken)
    name = f"{module}:Still"
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(["--agent", name, *SMALL, "--no-scripted", "--no-random"])
    (path,) = Path("runs").rglob("*.json")
    assert list(json.loads(path.read_text())["policies"]) == [name]


def test_an_agent_without_actions_is_told(module: str, capsys) -> None:
    assert evaluate.main(["--agent", f"{module}:wrong", *SMALL, "--no-scripted"]) == 1
    assert "error: act gave an array of shape (3, 4): it must be finite" in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere:load", "No module named 'nowhere'"),
        ("{}", "name a module and a function"),
        ("{}:absent", "has no attribute 'absent'"),
        ("{}:Deaf", "has no begin"),
        ("{}:unsaved", "FileNotFoundError.*model.zip"),
        (".{}:Still", "relative import"),
        ("{}:the_class", "gives a class"),
    ],
)
def test_an_agent_that_is_none_is_refused(module: str, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_own_agent(name.format(module))
    assert not Path("runs").exists()


def test_bad_requests_are_refused_at_once(module: str, capsys) -> None:
    bad = ["--agent", f"{module}:Still", "--suite", "ML11", "--goals", "0"]
    with pytest.raises(SystemExit) as ended:
        evaluate.main(bad)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "did you mean ML1" in said
    assert "--goals must be at least 1" in said
    with pytest.raises(InputError, match="has 50 per task"):
        program.parse(["--suite", "ML1", "--task", "reach-v3", "--goals", "51"]).make_suite()


def test_actions_are_checked(module: str) -> None:
    agent = load_own_agent(f"{module}:wrong")
    with pytest.raises(ValueError, match="finite and \\(3, 4\\)"):
        checked_actions(agent, np.zeros((3, 46), np.float32))


class Model:
    """What is needed of a Stable-Baselines3 model, remembering what it was asked."""

    def __init__(self, size: int) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (size,))
        self.asked = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.asked.append((observation.copy(), state, episode_start.tolist(), deterministic))
        return np.zeros((len(observation), 4)), (state or 0) + 1


def test_a_models_memory_is_carried_and_cleared() -> None:
    model = Model(39)
    agent = SB3Agent(model, per_episode=True)
    inputs = np.arange(92, dtype=np.float32).reshape(2, 46)
    inputs[:, PREV_DONE] = 0, 1
    agent.begin(2)
    agent.act(inputs)
    agent.act(inputs)
    (first, state, starts, deterministic), second = model.asked
    np.testing.assert_array_equal(first, inputs[:, OBS])
    assert (state, starts, deterministic) == (None, [True, True], True)
    assert second[1:3] == (1, [False, True])
    agent.begin(2)
    agent.act(inputs)
    assert model.asked[2][1] is None
    with pytest.raises(ValueError, match=r"\(7,\)"):
        SB3Agent(Model(7))


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_real_model_acts(recurrent: bool) -> None:
    from stable_baselines3 import PPO

    kind, policy = PPO, "MlpPolicy"
    if recurrent:
        kind, policy = pytest.importorskip("sb3_contrib").RecurrentPPO, "MlpLstmPolicy"
    space = gym.spaces.Box(-np.inf, np.inf, (46,), np.float32)

    class Env(gym.Env):
        observation_space, action_space = space, gym.spaces.Box(-1, 1, (4,), np.float32)

    agent = SB3Agent(kind(policy, Env(), device="cpu"))
    agent.begin(3)
    inputs = np.ones((3, 46), np.float32)
    first, second = agent.act(inputs), agent.act(inputs)
    assert first.shape == (3, 4)
    assert (first != second).any() == recurrent


def test_numbers_and_workers_as_for_our_own_agents() -> None:
    assert program.parse(["--agent", "x:y", "--goals", "1e1"]).goals == 10
    settings = program.parse(["--agent", "x:y", "--workers", "1e6"])
    with pytest.raises(InputError, match="--workers must be from 1 to 1024, not 1000000"):
        settings.make_suite()
