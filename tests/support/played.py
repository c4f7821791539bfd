"""A run within the test's process: a learner in a thread, an actor in this one."""

import threading
import time
from collections.abc import Callable

from actor.loop import simulate
from actor.policy.decorated import DecoratedPolicy
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from actor.rollout import Rollout
from actor.simulators.contract import VectorEnvironment
from config.main import Config
from learner.run import run_learner
from tests.support.wire import acting


def play(config: Config, envs: VectorEnvironment, enough: Callable[[], object], limit_s: float = 60) -> None:
    """A learner and an actor in `envs`, until `enough`."""
    stop, failed = threading.Event(), list[BaseException]()

    def learn() -> None:
        try:
            run_learner(config, stop)
        except BaseException as error:
            failed.append(error)
        finally:
            stop.set()

    def watch() -> None:
        deadline_s = time.monotonic() + limit_s
        while not stop.is_set() and not enough() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        stop.set()

    threads = [threading.Thread(target=each) for each in (learn, watch)]
    for each in threads:
        each.start()
    base = make_base(config.base, config.task, "cpu")
    spec = experience_spec(config, base)
    try:
        with acting(config.wire, spec=spec, stop=stop) as uplink:
            policy = DecoratedPolicy.of(config, base, num_envs=envs.num_envs, first_seed=1)
            simulate(Rollout(envs, policy, spec, 1), policy, uplink, 4, stop, patience_s=60.0)
    finally:
        stop.set()
        for each in threads:
            each.join(60)
    assert not failed, failed
