"""What a Ray cluster cannot run is refused in one line, and without Ray."""

import importlib.util

import pytest

from config.compose import compose_launch
from config.main import Launch
from config.process import UsageError
from launch.cluster.on_ray.limits import require_keys, require_ray, require_room, total_of
from launch.cluster.on_ray.node import Node


def asked(*words: str) -> Launch:
    return compose_launch(["cluster=ray", *words])


def node(cpus: float, gpus: float = 0.0) -> Node:
    return Node(id="n", address="192.0.2.1", cpus=cpus, gpus=gpus)


def refusal(nodes: list[Node], *words: str) -> str:
    with pytest.raises(UsageError) as error:
        require_room(asked(*words).cluster, nodes)
    return str(error.value)


def test_ray_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="which is not installed: bash launch/setup_env.sh ray"):
        require_ray()


def test_a_run_takes_what_all_its_processes_take() -> None:
    words = ("cluster.actors=16", "cluster.actor_cpus=2", "cluster.actor_gpus=0.25", "cluster.learner_gpus=1")
    assert total_of(asked(*words).cluster) == (34.0, 5.0)


def test_more_than_the_cluster_has_is_refused_with_both_figures() -> None:
    said = refusal([node(4), node(4)], "cluster.actors=16")
    assert "ask for 18 CPUs and 0 GPUs, the cluster has 8 CPUs and 0 GPUs" in said
    assert "cluster.actors" in said
    require_room(asked("cluster.actors=6").cluster, [node(4), node(4)])


def test_a_process_that_fits_on_no_node_is_refused_although_all_nodes_together_have_enough() -> None:
    assert "no node has 3 CPUs" in refusal([node(2), node(2), node(2)], "cluster.learner_cpus=3")


def test_a_cluster_that_grows_may_be_asked_for_more_than_it_has() -> None:
    require_room(asked("cluster.actors=16", "cluster.grows=true").cluster, [node(1)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wire.keys_dir=keys"], "wire.keys_dir=keys: a run on Ray makes its own keys"),
        (["learner.device=cuda"], "learner.device=cuda needs a GPU: set cluster.learner_gpus=1"),
        (["actor.device=cuda"], "actor.device=cuda needs a GPU: set cluster.actor_gpus=1"),
        (["actor.device=cuda", "cluster.actor_gpus=1"], "is the evaluator's too: set cluster.evaluator_gpus"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(words: list[str], said: str) -> None:
    launch = asked(*words)
    with pytest.raises(UsageError, match=said):
        require_keys(launch.run, launch.cluster)
