"""A decision is in one batch or in none."""

import pytest

from learner.on_policy.collector import Collector
from tests.support.on_policy import Run, on_policy_config


def run_of(*words: str) -> tuple[Run, Collector]:
    run = Run.of(on_policy_config("ppo", "actor.num_envs=2", *words))
    assert isinstance(run.training.memory, Collector)
    return run, run.training.memory


def test_a_batch_is_all_that_waits_once_there_is_enough() -> None:
    run, collector = run_of()
    run.publish()
    run.receive(run.decisions(20))
    assert not run.training.schedule.updates_due and collector.units == 20
    run.receive(run.decisions(20, sub_env=1))
    # 38 of the 40, of which each epoch has 5 pieces: where the last ones led is not known.
    assert run.training.schedule.updates_due == 2 * 5
    assert collector.units == 0 and collector.batch == 1


@pytest.mark.parametrize(("lag", "used"), [(0, 0), (1, 20)])
def test_decisions_of_older_weights_are_used_as_far_as_the_lag_allows(lag: int, used: int) -> None:
    run, collector = run_of(f"algo.max_version_lag={lag}")
    run.publish()
    late = run.decisions(20, sub_env=1, end="truncated")
    run.receive(run.decisions(40, end="truncated"))
    run.learn()
    run.publish()
    run.receive(late)
    assert collector.units == used and collector.dropped == 20 - used
    run.receive(run.decisions(40, episode=1, end="truncated"))
    run.learn()
    run.publish()
    run.receive(late)
    assert collector.units == 0 and collector.dropped == 40 - used


def test_a_decision_whose_outcome_is_not_known_waits_if_the_lag_allows_it() -> None:
    for lag in (0, 1):
        run, collector = run_of(f"algo.max_version_lag={lag}")
        run.publish()
        run.receive(run.decisions(40))
        run.learn()
        run.publish()
        assert collector.units == lag and collector.dropped == 0


def test_what_acted_with_weights_that_a_killed_process_lost_is_in_no_batch() -> None:
    run, _ = run_of()
    run.publish()
    saved = {name: part.state() for name, part in run.parts.items()}
    run.receive(run.decisions(40, end="truncated"))
    run.learn()
    run.publish()
    lost = run.decisions(40, episode=1, end="truncated")
    assert run.version == 2 and lost["weights_version"][0] == 2
    again, collector = run_of()
    # The journal gives what is not in the dataset yet, before the checkpoint is loaded.
    again.receive(lost, position=41)
    for name, part in again.parts.items():
        part.load_state(saved[name])
    assert collector.units == 0 and collector.dropped == 40
    # Versions of another process are newer than all that were published before.
    again.version = 2
    again.publish()
    again.receive(again.decisions(40, end="truncated"), position=82)
    assert again.learn() == 10


def test_what_the_checkpoint_has_does_not_come_again_from_the_journal() -> None:
    run, _ = run_of()
    run.publish()
    columns = run.decisions(20, end="truncated")
    run.receive(columns, position=0)
    saved = {name: part.state() for name, part in run.parts.items()}
    later = run.decisions(5, episode=1, end="truncated")
    again, collector = run_of()
    again.receive(columns, position=0)
    again.receive(later, position=21)
    for name, part in again.parts.items():
        part.load_state(saved[name])
    assert collector.units == 25 and collector.dropped == 0


def test_rounds_are_as_long_as_the_sub_environments_that_there_are_need() -> None:
    run, collector = run_of()
    assert collector.round == 16  # of 32 decisions, by the two that are configured
    run.publish()
    for sub_env in range(4):
        run.receive(run.decisions(10, sub_env=sub_env, end="truncated"))
    run.learn()
    assert collector.round == 8 and run.training.schedule.behaviour().round == 8
