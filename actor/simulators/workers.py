"""How the processes of CPU simulators start."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Any, Literal

import gymnasium

from actor.simulators.bundle import Bundle
from actor.simulators.contract import RenderError, TaskError
from config.task import TaskConfig

StartMethod = Literal["fork", "forkserver"]


class Spaces(gymnasium.Env):
    """The spaces of a bundle, without simulators."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


class Maker:
    """Makes one bundle in its worker; a class, since a forkserver's worker receives it pickled.

    gymnasium also calls it in the process that starts the workers, and asks the result for its spaces alone.
    """

    def __init__(self, spaces: Spaces, *arguments: Any) -> None:
        self._spaces, self._arguments, self._starter = spaces, arguments, os.getpid()

    def __call__(self) -> gymnasium.Env:
        if os.getpid() == self._starter:
            return self._spaces
        _leave_signals_to_starter()
        return Bundle(*self._arguments)


def _leave_signals_to_starter() -> None:
    """A fork has the handlers of its parent, which ends its workers itself, with SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def start_method(preloaded: tuple[str, ...]) -> StartMethod:
    """How workers start. A fork has what this process has imported, which took seconds. It is safe while this
    process has no other thread, which a fork stops in the middle of its work: before CUDA and sockets.

    `preloaded`: what a server of workers imports, see `Simulator`."""
    if len(os.listdir("/proc/self/task")) == 1:
        return "fork"
    # The server that every worker is forked from imports once for all.
    multiprocessing.set_forkserver_preload([*preloaded])
    return "forkserver"


def ask_for_spaces(method: StartMethod, task: TaskConfig, places: int) -> Spaces:
    """The spaces of bundles with `places` places, from a worker that ends: simulators in this process would
    be in every fork of it. Raises what making one raises; EOFError if the worker was ended."""
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    with receiver:
        worker = context.Process(target=_tell_spaces, args=(sender, task, places), daemon=True)
        worker.start()
        sender.close()
        try:
            answer: Spaces | TaskError | RenderError = receiver.recv()
        finally:
            worker.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _tell_spaces(sender: Connection, task: TaskConfig, places: int) -> None:
    _leave_signals_to_starter()
    try:
        bundle = Bundle(task, range(1), stride=1, places=places)
        sender.send(Spaces(bundle.observation_space, bundle.action_space))
    except (TaskError, RenderError) as error:
        sender.send(error)
