"""How the learners of a run come together and part: the first starts them, or torchrun did."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from envs.pool.pool import search_path
from train.learners.group import Group
from train.learners.place import Place, launched
from train.learners.ranks import RankError
from train.learners.watch import Watch

_COMING = 300.0  # seconds that learners may take to come, on however busy a machine
_PATIENCE = timedelta(minutes=30)  # of one collective; `Watch` is much faster
_STORE = timedelta(seconds=10)  # of one question to the store
_QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # our own message says who is gone
_GOING = 20.0  # seconds that a child may take to end after the last word


def meeting(
    count: int, program: str, arguments: Sequence[str], farewell: Callable[[], str]
) -> AbstractContextManager[Group]:
    """The group of those that a launcher started, or of `count` learners of this machine.

    Args and errors are those of `joined` and of `with_children`.
    """
    place = launched()
    if place is None:
        return with_children(count, program, arguments, farewell)
    return joined(place, farewell)


@contextmanager
def joined(place: Place, farewell: Callable[[], str]) -> Iterator[Group]:
    """The group of a run that a launcher started, while the body runs.

    Raises:
        RankError: others do not come, or one is gone.
    """
    served = place.served or place.rank > 0
    try:
        store = dist.TCPStore(
            place.host,
            place.port,
            None,
            is_master=not served,
            timeout=timedelta(seconds=_COMING),
            wait_for_workers=False,
        )
    except RuntimeError as error:
        raise RankError(f"no learners meet at {place.host}:{place.port}: {error}") from error
    with _met(place, store, {}, farewell) as group:
        yield group


@contextmanager
def with_children(
    count: int, program: str, arguments: Sequence[str], farewell: Callable[[], str]
) -> Iterator[Group]:
    """The group of `count` learners of this machine, the others started here as children.

    Args:
        count: learners, this one included.
        program: what the children run: ``python -m program arguments``.
        arguments: names of the user's own parts; all else they are told.
        farewell: says how to resume.

    Raises:
        RankError: a child does not come, or is gone.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody else is to connect
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(count)
    port = listening.getsockname()[1]
    store = dist.TCPStore(
        "127.0.0.1",
        port,
        None,
        is_master=True,
        timeout=_STORE,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )
    places = [Place(rank, count, rank, count, "127.0.0.1", port) for rank in range(count)]
    children = {p.rank: _start(p, program, arguments) for p in places[1:]}
    try:
        with _met(places[0], store, children, farewell) as group:
            yield group
        with suppress(subprocess.TimeoutExpired):  # the run is finished all the same
            for child in children.values():
                child.wait(_GOING)
    finally:
        for child in children.values():
            child.kill()
            child.wait()


def _start(place: Place, program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """A child, deaf to the signals of its session: the first learner passes on what they ask."""
    deaf_to = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", program, *arguments],
            stdin=subprocess.DEVNULL,
            env={**_QUIET, **os.environ, **place.environment(), "PYTHONPATH": search_path()},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


@contextmanager
def _met(
    place: Place,
    store: Any,
    children: dict[int, subprocess.Popen[bytes]],
    farewell: Callable[[], str],
) -> Iterator[Group]:
    """Wait for all learners, start `torch.distributed` and the watch; tell the others of errors."""
    shared = dist.PrefixStore(f"strata/{place.attempt}", store)
    names = _names(place, shared, children)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(place.local_rank % gpus)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus >= place.local_count else "gloo",
            store=dist.PrefixStore("torch", shared),
            rank=place.rank,
            world_size=place.count,
            timeout=_PATIENCE,
        )
    except RuntimeError as error:
        text = f"the learners cannot connect ({str(error).splitlines()[0]})"
        raise RankError(f"{text}: name their network card in GLOO_SOCKET_IFNAME") from error
    own = dist.PrefixStore(f"strata/{place.attempt}", store.clone())
    own.set_timeout(_STORE)
    watch = Watch(own, place.rank, names, children, farewell)
    group = Group(place, watch)
    try:
        yield group
        group.any(False)  # all are done
    except RankError:
        raise
    except BaseException as error:
        watch.fail(str(error) or type(error).__name__)
        raise
    finally:
        watch.stop()
    dist.destroy_process_group()


def _names(place: Place, store: Any, children: dict[int, subprocess.Popen[bytes]]) -> list[str]:
    """Come, and wait until all others have: what each is called in messages."""
    store.set(f"beat/{place.rank}", "0")
    store.set(f"name/{place.rank}", f"process {os.getpid()} on {os.uname().nodename}")
    keys, until = [f"name/{rank}" for rank in range(place.count)], time.monotonic() + _COMING
    while missing := [rank for rank, key in enumerate(keys) if not store.check([key])]:
        for rank, child in children.items():
            if child.poll() is not None:
                text = f"learner {rank} died as it started (exit status {child.returncode})"
                raise RankError(f"{text}; see its message above")
        if time.monotonic() > until:
            late = ", ".join(map(str, missing))
            text = f"learner {late} of {place.count} did not come within {_COMING:.0f} s"
            raise RankError(text, speaks=place.rank == min(set(range(place.count)) - {*missing}))
        time.sleep(0.1)
    return [f"learner {rank} ({store.get(key).decode()})" for rank, key in enumerate(keys)]
