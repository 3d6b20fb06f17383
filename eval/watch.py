"""Watch whole trials of an agent: ``python -m eval.watch RUN --task door-close-v3``.

    python -m eval.watch RUN                                 all test tasks, as an mp4
    python -m eval.watch RUN --task reach-v3 push-v3 --gif   chosen tasks, any of the 50
    python -m eval.watch --scripted --task assembly-v3       Meta-World's expert, without a run
    python -m eval.watch --agent my_module:load --suite ML10 an agent of your own
    python -m eval.watch RUN --live                          in a window, where there is a display

Each cell of the picture is one trial, exactly as `eval.evaluate` measures it with equal --seed and
--horizon (fewer --episodes are the first ones; with --repeating, half of them are attempts). Exit
codes: 0 done, 1 failed, 2 bad input or nothing to render with (nothing written), 75 interrupted.
"""

from __future__ import annotations

import os

# Before NumPy comes: the workers' BLAS has one thread, and its number can show in the last digits.
if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from agents.acting.own import ActionsError
from envs.viewing import gl  # before what needs MuJoCo: see there
from envs.viewing.playback import Cell, Playback
from envs.viewing.render import GLError, film, frame_count
from envs.viewing.video import picked, write_gif, write_still, write_video
from eval.viewing.viewer import watch_live
from eval.viewing.watch_config import STEPS_PER_SECOND, Program, Settings, parse, prepare
from train.run.console import forgiving_console
from train.run.input_error import exits_on_bad_input
from train.run.signals import INTERRUPTED, interrupt_on_signals


@forgiving_console()
@exits_on_bad_input
def main(argv: list[str] | None = None) -> int:
    """Parse, check everything, run and draw the trials, write. Returns the exit code."""
    settings = parse(sys.argv[1:] if argv is None else argv)
    written: list[Path] = []
    try:
        program = prepare(settings)
        banner(settings, program)
        if settings.live:
            watch_live(program.policy, program.slots, lanes=program.lanes, own=program.own)
            return 0
        write(settings, program, written)
    except KeyboardInterrupt:
        done = " and ".join(map(str, written)) or "nothing"
        print(f"interrupted: {done} was written; run the same command again", file=sys.stderr)
        return INTERRUPTED
    except (GLError, OSError, FloatingPointError, ActionsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write(settings: Settings, program: Program, written: list[Path]) -> None:
    """Run and draw the trials into the video, and what else was asked for.

    Args:
        settings: what was asked for.
        program: what is watched.
        written: takes in each file when it is whole.

    Raises:
        GLError: drawing failed.
        OSError: a file cannot be written.
        FloatingPointError: the policy gave an action that is not finite.
    """
    every, fps, out = program.every, program.fps, program.out
    total = frame_count(episodes=settings.episodes, horizon=settings.horizon, every=every)
    kept = []
    play = Playback(program.policy, program.slots, lanes=program.lanes, own=program.own)
    try:
        order = {task: place for place, task in enumerate(program.tasks)}
        play.cells.sort(key=lambda cell: (cell.trial.goal_index, order[cell.trial.task]))
        frames = film(
            play,
            size=settings.size,
            every=every,
            camera=settings.camera,
            columns=program.columns,
            title=program.title,
        )
        console = Console(stderr=True)
        shown = track(
            frames,
            "drawing",
            total,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        wanted = (0, (total - 1) // 2, total - 1)
        write_video(out, picked(shown, wanted, kept), fps=fps)
    finally:
        play.close()
    written.append(out)
    if settings.gif:
        write_gif(out.with_suffix(".gif"), out, fps=fps)
        written.append(out.with_suffix(".gif"))
    if settings.still:
        write_still(out.with_suffix(".png"), kept)
        written.append(out.with_suffix(".png"))
    report(play.cells)
    print(
        f"{total} frames, {total / fps:.1f} s at {every * fps / STEPS_PER_SECOND:.2g} × real time"
    )
    for path in written:
        print(f"written: {path}")


def report(cells: Sequence[Cell]) -> None:
    """Say in words what the video shows: the first successful step of each episode."""
    for cell in cells:
        trial = cell.trial
        curve = "  ".join(
            f"{number}: {'-' if step is None else f'step {step}'}"
            for number, step in enumerate(cell.succeeded_at, start=1)
        )
        fault = "  (physics fault)" if cell.fault else ""
        print(
            f"  {trial.task:<28} {trial.split:>5} goal {trial.goal_index:<3} "
            f"success in episode  {curve}{fault}"
        )


def banner(settings: Settings, program: Program) -> None:
    """Say what is about to be watched."""
    where = "in a window" if settings.live else f"every {program.every} steps, by {gl.backend()}"
    print(f"Strata watch  {program.title}", flush=True)
    print(
        f"  {', '.join(program.tasks)} × {settings.goals} goals × {settings.episodes} episodes × "
        f"{settings.horizon} steps, {where}",
        flush=True,
    )
    for note in program.notes:
        print(f"  note: {note}", flush=True)


if __name__ == "__main__":
    interrupt_on_signals()  # leave nothing half written
    sys.exit(main())
