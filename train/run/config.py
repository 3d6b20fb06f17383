"""Configuration of a run: frozen dataclasses, read from command lines and JSON.

Everything wrong with a configuration is reported at once, with the flag to change, and nothing is
written before it is right.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Self

import tyro

from agents.rl2 import AgentConfig, blank_agent
from envs.memory_tests.fork import STILL, ForkSettings, Lifetimes, fork_settings
from envs.memory_tests.fork_streams import FORK_STREAMS
from envs.metaworld.streams import STREAMS
from envs.metaworld.suites import SUITES, Suite, make_suite, suite_problems
from envs.metaworld.task_env import MAX_HORIZON, TASKS
from envs.pool.pool import available_cores
from envs.pool.shared_rollout import worker_problems
from train.algorithms.ppo_config import PPOConfig
from train.learners.place import launched
from train.long_term.arms import ARM_REGISTRY, Arm, network
from train.long_term.config import MemoryConfig
from train.run.command_line import spelt, spelt_suite
from train.run.config_io import build, flatten
from train.run.input_error import InputError
from train.run.tracking import Service
from train.run.verified_folder import replace_file

HOW_IT_ENDS = frozenset({"total_steps", "ppo.final_learning_rate", "ppo.anneal"})
CHANGEABLE = HOW_IT_ENDS | {
    "learners", "workers", "threads", "device", "checkpoint_every", "evaluate_every", "video_every",
    "keep", "track",
}  # fmt: skip
"""Fields that may differ when a run is resumed: they do not change what is learnt up to a step,
except HOW_IT_ENDS, which says how the learning rate does."""


PARTS = tuple(part for parts in FORK_STREAMS.values() for part in parts)
MAX_STEPS = 10**12
MAX_BATCH = 10_000_000  # steps of one iteration, which are in memory at once: some gigabytes
BOUNDS = {
    "train_goals": (1, 100_000),
    "seed": (0, 2**31 - 1),
    "total_steps": (1, MAX_STEPS),
    "episodes": (1, 100),
    "horizon": (1, MAX_HORIZON),
    "trials": (1, 10_000),
    "lanes": (1, 1000),
    "learners": (1, 1024),
    "threads": (1, 1024),
    "checkpoint_every": (1, MAX_STEPS),
    "evaluate_every": (0, MAX_STEPS),
    "video_every": (0, MAX_STEPS),
    "keep": (1, 1_000_000),
}
"""Least and most of the numbers of a run: a file may ask for any."""
PROPOSALS = 0.5  # share of training trials, where whole tasks are held out
STEPS_PER_TASK = 2_000_000  # as Meta-World+ budgets its meta-RL runs (arXiv 2505.11289)


@dataclass(frozen=True)
class Config:
    """Train RL² on Meta-World."""

    suite: str = "ML10"
    """ML1 (with --task), ML10, ML25, ML45, MT10, MT50, or custom (with --tasks)."""
    task: str | None = None
    """The task of ML1, e.g. reach-v3."""
    tasks: tuple[str, ...] = ()
    """Training tasks of a custom suite."""
    test_tasks: tuple[str, ...] = ()
    """Held-out tasks of a custom suite; without them it is tested on unseen goals."""
    arm: str = "short"
    """Memory of the agent: none, short (flat RL²), short-wide, short+replay, long, cascade,
    cascade+replay, episodic, or hierarchical (all of it); see docs/memory.md. Or an arm from your
    own file, as my_module:MY_ARM (see train/long_term/arms.py)."""
    seed: int = 1
    """Seed of goals, trials, exploration, initial weights and minibatches."""
    total_steps: int | None = None
    """Environment steps to train for, rounded up to whole iterations; unset: 2 million per training
    task, 20 million for ML10."""
    run: Path | None = None
    """Folder of the run; unset: runs/<suite>-<arm>-seed<seed>."""
    workers: int | None = None
    """Worker processes of a machine, dealt among its learners; unset: one per available core."""
    learners: int = 1
    """Learners that share the trials and each gradient, as processes of this machine; under
    torchrun as many as it starts (docs/scaling.md)."""
    init_from: str | None = None
    """Start with the weights of a trained agent: its run folder, or one checkpoint in it. All else
    is new: optimiser, critic, slower memories and log."""
    algorithm: str = "ppo"
    """What learns: ppo, or a learner from your own file, as my_module:make (see
    train/algorithms/learner.py)."""
    train_goals: int = 1000
    """Goals of each training task; 50 is Meta-World's own list, which a memory learns by heart."""
    episodes: int = 4
    """Episodes of a training trial (K); memory is carried through all of them."""
    horizon: int = 125
    """Steps of a training episode (H)."""
    trials: int | None = None
    """Trials of one iteration; unset: the smallest multiple of the tasks that is at least 40."""
    proposals: float | None = None
    """Share of training trials whose task is proposed: other things to do in the same scenes;
    unset: 0.5 for suites that hold out whole tasks (ML10, ML25, ML45), else 0."""
    vary: bool = True
    """Vary the scenes of proposed tasks: where the hand starts, and where the object is seen."""
    balance: bool = True
    """Deal the training tasks' own trials by what each task lacks of success, at least one each."""
    practise: float = 0.5
    """Share of training trials that show the true target: as its aim to an agent of --act
    posterior, on FORK suites in the input to one of --act direct."""
    told_in_input: tyro.conf.Suppress[bool] = True
    """Whether practice shows agents of --act direct the target; False in files older than that."""
    missing: float = 0.0
    """Chance that a step's observation is hidden from the agent, as zeros; what it did and earned
    stays visible. See --core hrnn."""
    lanes: int = 10
    """Trials that a worker steps together. Part of the result's last digits; workers are not."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    threads: int = 1
    """Threads of the learner: matrices this small gain little from more, and on a busy machine
    threads that wait for each other lose several-fold (docs/decisions.md)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner runs; workers always act on the CPU."""
    checkpoint_every: int = 250_000
    """Environment steps between checkpoints."""
    evaluate_every: int = 1_000_000
    """Environment steps between quick evaluations on the test split (0: none)."""
    video_every: int = 0
    """Environment steps between videos of the agent in TensorBoard (0: none)."""
    keep: int = 3
    """Checkpoints to keep besides the best one."""
    track: Service = "none"
    """Service that is fed with the run's numbers too: none or wandb (WANDB_MODE=offline works)."""
    in_phases: ClassVar[bool] = False  # whether tasks come one after another
    learner: ClassVar[str] = "RL²"
    logged_as: ClassVar[str] = "ppo"  # group of what the learner's update says

    @property
    def chosen_arm(self) -> Arm:
        """What the arm is made of. Raises ValueError where its name is not known."""
        return ARM_REGISTRY.find(self.arm)

    @property
    def network(self) -> AgentConfig:
        """The agent that the arm makes of `agent`, with a belief over the suite's targets."""
        agent, life = dataclasses.replace(self.agent, targets=self.targets), self.lifetimes
        if life is not None and self.chosen_arm.episodic:
            entries = life.contexts * life.exposures
            agent = dataclasses.replace(agent, lifetime=entries, read_at=STILL - 1)
        return network(self.chosen_arm, agent, self.memory)

    @property
    def adapts(self) -> bool:
        """Whether weights are adapted to a task, by `train.maml`."""
        return self.algorithm == "maml"

    @property
    def least_trials(self) -> int:
        """Least trials of an iteration, where `trials` does not say."""
        return 40

    @property
    def fork(self) -> ForkSettings | None:
        """What the suite tests of memory; None: nothing."""
        return fork_settings(self.suite)

    @property
    def lifetimes(self) -> Lifetimes | None:
        """Of a RECALL suite; None: the trials of the suite have nothing in common."""
        return None if self.fork is None else self.fork.lifetimes

    @property
    def slots(self) -> int:
        """Lifetimes that run side by side, each with a store; 0 where there are none."""
        life = self.lifetimes
        return 0 if life is None or life.flat else self.trials_for(1) // life.contexts

    @property
    def targets(self) -> int:
        """M, hidden targets of the suite; 0: it has none."""
        return 0 if self.fork is None else self.fork.options

    @property
    def label(self) -> str:
        """Name of the arm, with the way of acting and the core where they are not the usual."""
        direct = self.agent.act == "direct" and self.targets > 0 and not self.adapts
        act = "-posterior" * self.over_places + "-direct" * direct
        arm = ARM_REGISTRY.own.get(self.arm, Arm())
        usual = self.agent.core == AgentConfig.core or not arm.short
        name = self.arm.rpartition(":")[2] + act
        return name + ("" if usual else "-" + self.agent.core.rpartition(":")[2])

    @property
    def over_places(self) -> bool:
        """Whether the agent acts on a belief over (part, place); see `agents.place_belief`."""
        return self.agent.act == "posterior" and not self.targets

    @property
    def practises(self) -> bool:
        """Whether some training trials show the true target."""
        return self.practise > 0 and self.can_be_told

    @property
    def shows_targets(self) -> bool:
        """Whether practice shows the target in the input: to an agent that acts on its memory.

        RECALL has no such practice: the cue stands in the place where the target would.
        """
        hides = self.targets > 0 and self.lifetimes is None and not self.adapts
        return self.agent.act == "direct" and hides and self.told_in_input and self.practise > 0

    @property
    def can_be_told(self) -> bool:
        """Whether the agent knows what to do with a target that is shown to it."""
        return self.agent.act == "posterior" or self.shows_targets

    @property
    def shared_by(self) -> int:
        """How many learners share the run: as many as torchrun has started, if it has."""
        place = launched()
        return self.learners if place is None else place.count

    @property
    def run_folder(self) -> Path:
        """Where this run is written."""
        name = f"{self.task if self.suite == 'ML1' else self.suite}-{self.label}-seed{self.seed}"
        return self.run or Path("runs") / name

    def trials_for(self, tasks: int) -> int:
        """Trials of one iteration, a multiple of the `tasks` training tasks unless it is given.

        At least two of each where tasks are proposed too: proposals take whole rounds of all tasks.
        """
        least = max(self.least_trials, 2 * tasks if self.proposal_share > 0 else 0)
        return self.trials or -(-least // tasks) * tasks

    def iteration_steps(self, tasks: int) -> int:
        """Environment steps of one iteration, for `tasks` training tasks."""
        return self.trials_for(tasks) * self.episodes * self.horizon

    def trained_steps(self, tasks: int) -> int:
        """Environment steps of the whole run: `total_steps` rounded up to whole iterations."""
        steps = self.iteration_steps(tasks)
        return -(-(self.total_steps or STEPS_PER_TASK * tasks) // steps) * steps

    def rounding(self, tasks: int) -> list[str]:
        """A sentence where more is trained than was asked for, as iterations are whole."""
        asked, trained = self.total_steps, self.trained_steps(tasks)
        if asked is None or asked == trained:
            return []
        steps = self.iteration_steps(tasks)
        return [
            f"--total-steps {asked:,} is rounded up to {trained:,}: whole iterations of {steps:,} "
            "steps"
        ]

    @property
    def proposal_share(self) -> float:
        """Share of trials of proposed tasks."""
        default = PROPOSALS if self.suite in ("ML10", "ML25", "ML45") else 0.0
        return default if self.proposals is None else self.proposals

    def suite_problems(self) -> list[str]:
        """Everything wrong with the tasks that are asked for."""
        return suite_problems(
            self.suite, task=self.task, tasks=self.tasks, test_tasks=self.test_tasks
        )

    def make_suite(self, train_goals: int | None = None) -> Suite:
        """The run's tasks and goals; of each training task only `train_goals` where given.

        Raises:
            SuiteError: there is no such suite.
        """
        return make_suite(
            self.suite,
            task=self.task,
            tasks=self.tasks,
            test_tasks=self.test_tasks,
            seed=self.seed,
            train_goals=self.train_goals if train_goals is None else train_goals,
            missing=self.missing,
        )

    def spelt(self) -> Self:
        """The same with suites and tasks in their own spelling: ``ml10`` is ML10."""
        return dataclasses.replace(
            self,
            suite=spelt_suite(self.suite, (*SUITES, *STREAMS)),
            task=self.task and spelt(self.task, TASKS),
            tasks=tuple(spelt(task, (*TASKS, *PARTS)) for task in self.tasks),
            test_tasks=tuple(spelt(task, TASKS) for task in self.test_tasks),
        )

    def validate(self, tasks: int | None = None) -> list[str]:
        """Everything wrong with this configuration; `tasks` is the number of training tasks."""
        found = self.suite_problems() + self.size_problems()
        if not 0 <= self.proposal_share < 1:
            found.append(f"--proposals must be 0 or more and less than 1, not {self.proposals}")
        if tasks and self.trials and self.trials % tasks:
            nearest = -(-self.trials // tasks) * tasks
            found.append(
                f"--trials {self.trials} does not divide among {tasks} tasks: try {nearest}"
            )
        if tasks and self.trials and self.proposal_share > 0 and self.trials < 2 * tasks:
            found.append(
                f"--trials {self.trials} is one of each of {tasks} tasks, which cannot be shared "
                f"with proposed tasks: try {2 * tasks}, or --proposals 0"
            )
        if self.adapts and self.logged_as != "maml":
            found.append("--algorithm maml is a program of its own: use python -m train.maml")
        if not 0 <= self.missing < 1:
            found.append(f"--missing must be 0 or more and less than 1, not {self.missing}")
        if tasks and self.shared_by > self.trials_for(tasks):
            found.append(
                f"{self.shared_by} learners cannot share {self.trials_for(tasks)} trials: lower "
                "--learners or raise --trials"
            )
        found += self._arm_problems() + self._lifetime_problems()
        return found + self._target_problems()

    def without_own_parts(self) -> Self:
        """The same with Strata's own arm and core in the place of a user's.

        So a run can be checked and read where the user's code is not to be imported.
        """
        arm = "short" if ":" in self.arm else self.arm
        core = AgentConfig.core if ":" in self.agent.core else self.agent.core
        return dataclasses.replace(self, arm=arm, agent=dataclasses.replace(self.agent, core=core))

    def _lifetime_problems(self) -> list[str]:
        """Everything wrong with the trials and the arm where contexts come again."""
        life, found = self.lifetimes, []
        if life is None or ARM_REGISTRY.problems(self.arm):
            return found
        arm = self.chosen_arm
        if not life.flat and self.trials_for(1) % life.contexts:
            nearest = -(-self.trials_for(1) // life.contexts) * life.contexts
            found.append(
                f"--trials must be a multiple of the {life.contexts} contexts: try {nearest}"
            )
        if life.scene and self.train_goals < life.contexts:
            found.append(
                f"--train-goals must be at least {life.contexts}, the contexts of a lifetime"
            )
        if arm.episodic and (life.flat or arm.cascade or arm.replay):
            found.append(
                f"--arm {self.arm} is not for {self.suite}: use --arm none or short"
                + ("" if life.flat else ", or episodic")
            )
        return found

    def size_problems(self) -> list[str]:
        """Every number that is out of its bounds, so that nothing can be built from it."""
        found = [
            f"--{name.replace('_', '-')} must be from {least} to {most}, not {value}"
            for name, (least, most) in BOUNDS.items()
            if (value := getattr(self, name)) is not None and not least <= value <= most
        ]
        steps = (self.trials or 1) * self.episodes * self.horizon
        if not found and steps > MAX_BATCH:
            found.append(
                f"--trials {self.trials} are {steps} steps at once, more than {MAX_BATCH}: lower "
                "--trials, --episodes or --horizon"
            )
        found += worker_problems(self.workers) + self.ppo.problems() + self.memory.problems()
        return found + self.agent.problems()

    def _target_problems(self) -> list[str]:
        """Everything wrong with how hidden targets are acted on."""
        fork = self.fork
        found = [] if fork is None else fork.problems(self.episodes, self.horizon)
        if self.over_places and not self.adapts:
            found += self._place_problems()
        if not 0 <= self.practise < 1:
            found.append(f"--practise must be 0 or more and less than 1, not {self.practise}")
        return found

    def _place_problems(self) -> list[str]:
        """Everything wrong with a belief over places here."""
        if self.in_phases or self.suite.startswith("MT"):
            return [
                f"--act posterior needs hidden targets, which {self.suite} has not: use --act "
                "direct, or an ML, FORK or RECALL suite"
            ]
        found = []
        if not ARM_REGISTRY.problems(self.arm) and self.chosen_arm.long_term:
            found.append(
                f"--arm {self.arm} keeps no belief over places: use --arm short or none with --act "
                f"posterior on {self.suite}"
            )
        if not self.ppo.belief:
            found.append("--act posterior learns nothing with --belief 0: try --belief 0.02")
        return found

    def _arm_problems(self) -> list[str]:
        """Everything wrong with the arm, with the agent, or with the agent in this arm."""
        found = ARM_REGISTRY.problems(self.arm)
        if found or self.agent.problems() or self.memory.problems():
            return found
        if wide := self.network.problems():
            return [f"--arm {self.arm} makes layers too wide of this: {wide[0]}"]
        arm, name, memory = self.chosen_arm, self.agent.core, blank_agent(self.agent).memory
        if arm.needs_stream and not self.in_phases:
            found.append(f"--arm {self.arm} is for task streams: use python -m train.continual")
        if arm.episodic and not arm.short:
            found.append(f"--arm {self.arm} reads its store into short-term memory: give it short")
        if arm.short and not memory.state_width:
            found.append(f"--core {name} has no memory for arm {self.arm}: use --arm none or long")
        if arm.short and arm.episodic and memory.hidden_part.stop > memory.state_width:
            found.append(
                f"--core {name} has too small a state for what arm {self.arm} recalls: give it "
                "at least --hidden numbers of state, or use --arm short"
            )
        return found

    def resolved(self, tasks: int) -> Self:
        """The same with all defaults filled in, for `tasks` training tasks on this machine."""
        return dataclasses.replace(
            self,
            run=self.run_folder,
            # The schedule of the learning rate keeps other totals as they were asked for.
            total_steps=max(
                self.total_steps or STEPS_PER_TASK * tasks, self.iteration_steps(tasks)
            ),
            trials=self.trials_for(tasks),
            proposals=self.proposal_share,
            workers=self.workers or available_cores(),
            learners=self.shared_by,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; `Config.from_json` restores all but the folder, which may move."""
        return {**dataclasses.asdict(self), "run": None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises ValueError naming unknown or ill-typed fields."""
        agent = values.get("agent") if isinstance(values, dict) else None
        if isinstance(agent, dict):  # a file older than the field has the first layout of inputs
            values = {**values, "agent": {"inputs": 1, **agent}}
        config = build(cls, values)
        if config.shows_targets and "told_in_input" not in values:  # it was made without that
            return dataclasses.replace(config, told_in_input=False)
        return config


def difference(old: Config, new: Config) -> list[str]:
    """Fields that differ although a resumed run must not change them, one sentence each."""
    return [
        f"{name}: the run has {a!r}, you asked for {b!r}"
        for (name, a), (_, b) in zip(flatten(old), flatten(new), strict=True)
        if a != b and name not in CHANGEABLE and name != "run"
    ]


def write_config(config: Config) -> None:
    """Write the resolved configuration into its run folder, atomically."""
    text = json.dumps(config.to_json(), indent=2) + "\n"
    replace_file(config.run_folder / "config.json", text.encode())


def stop(problems: list[str], hint: str = "") -> NoReturn:
    """Refuse what was asked for: raises InputError, which ends a program with exit code 2."""
    raise InputError(problems, hint)
