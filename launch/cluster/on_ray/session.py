"""The Ray cluster of a run: joined, or begun for it; its nodes, and which of them see the run's folder."""

import contextlib
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
)

from config.cluster import RayConfig
from config.process import UsageError, one_line
from launch.cluster.on_ray.host import look
from launch.cluster.on_ray.limits import total_of
from launch.cluster.on_ray.node import Home, Node

log = logging.getLogger("launch")

# Keys and lines of processes are all that a run keeps there.
_OBJECT_STORE_BYTES = 100 << 20
_CONNECT_S = 5.0


@contextlib.contextmanager
def joined(cluster: RayConfig) -> Generator[None]:
    """Be in the cluster during the block. Raises UsageError: there is none, or it is another Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    try:
        if address in (None, "local"):
            _begin(cluster)
        else:
            _join(address, cluster.answer_s)
        yield
    finally:
        ray.shutdown()


def _begin(cluster: RayConfig) -> None:
    """A cluster of this machine alone, with as many processors as the run asks for: they are shared, as in a
    run without Ray."""
    log.info("starting a Ray cluster of this machine alone; cluster.address=HOST:PORT joins another")
    try:
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, math.ceil(total_of(cluster).cpus)),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _system_config={"enable_worker_prestart": False, "prestart_worker_first_driver": False},
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:  # Ray raises each of them
        raise UsageError(
            f"Ray cannot be started here: {_short(error)}: RAY_TMPDIR names another folder for its files"
        ) from error


def _join(address: str, answer_s: float) -> None:
    if "://" in address:
        raise UsageError(
            f"cluster.address={address}: start the run on a node of the cluster, with its address as "
            "HOST:PORT, or with ray job submit"
        )
    if address != "auto":
        _require_listener(address)
        _require_ray(address, answer_s)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:  # Ray raises each of them
        raise UsageError(f"the Ray cluster at {address} cannot be joined: {_reason(str(error))}") from error


def _require_listener(address: str) -> None:
    """Raise UsageError if nobody listens there: Ray would ask for a minute or more."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"cluster.address={address} is no address: write HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"no Ray cluster answers at {address} ({reason}): correct cluster.address or RAY_ADDRESS, or "
            "start one with ray start --head"
        ) from error


def _require_ray(address: str, answer_s: float) -> None:
    """Raise UsageError if what listens there is no Ray that takes this process. `ray.init` has no time limit,
    so another process tries it first."""
    program = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", program, address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=answer_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"what listens at {address} did not answer as a Ray cluster for {answer_s:g} s: correct "
            "cluster.address or RAY_ADDRESS, or raise cluster.answer_s"
        ) from None
    if tried.returncode:
        raise UsageError(f"the Ray cluster at {address} cannot be joined: {_reason(tried.stderr)}")


def _reason(said: str) -> str:
    """Of a message or a trace the error, in a line, with what to do."""
    text = " ".join(said.rpartition("Error: ")[2].split()).rstrip(".")
    if "AuthToken" in said:
        text += ": it asks for a token: set RAY_AUTH_MODE=token, with its token in ~/.ray/auth_token"
    if "Version mismatch" in said:
        text += ": all nodes need the same Ray and Python (bash launch/setup_env.sh ray)"
    return text


def _short(error: Exception) -> str:
    return one_line(error).removesuffix(".")


def living_nodes() -> list[Node]:
    """The nodes that are alive, this machine's first."""
    here = ray.get_runtime_context().get_node_id()
    nodes = [
        Node(
            id=each["NodeID"], address=each["NodeManagerAddress"],
            cpus=each["Resources"].get("CPU", 0.0), gpus=each["Resources"].get("GPU", 0.0),
        )
        for each in ray.nodes()
        if each["Alive"]
    ]  # fmt: skip
    return sorted(nodes, key=lambda node: node.id != here)


def on_node(node: Node) -> NodeAffinitySchedulingStrategy:
    """Where Ray shall put something: there and nowhere else."""
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def seeing(nodes: Sequence[Node], home: Home, answer_s: float, *, strict: bool) -> list[Node]:
    """Those of `nodes` that see the run's folder; every node is asked.
    Raises UsageError if `strict`: one does not answer, or cannot run this project."""
    ask = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {ask.options(scheduling_strategy=on_node(node)).remote(home): node for node in nodes}
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=answer_s)
    found = [asked[ref] for ref in done if _answer(ref, asked[ref], strict)]
    if late and strict:
        raise UsageError(f"node {asked[late[0]].address} did not answer for {answer_s:g} s: is it healthy?")
    return [node for node in nodes if node in found]


def _answer(ref: "ray.ObjectRef", node: Node, strict: bool) -> bool:
    try:
        return ray.get(ref)
    except RayError as error:
        if strict:
            cause = error.cause if isinstance(error, RayTaskError) else error
            last = str(cause).strip().splitlines()[-1]
            raise UsageError(
                f"node {node.address} cannot run residual-rl: {last}: start Ray there from an environment "
                "that has this project (bash launch/setup_env.sh ray)"
            ) from error
        return False
