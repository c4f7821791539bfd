"""Whether a client fits a learner, and what its owner should change if it does not."""

from typing import Any, cast

from protocol.experience import ExperienceSpec
from protocol.messages import PROTOCOL_VERSION, Hello

LONGEST_NAME = 64
SESSIONS = range(2**63)

# Field of the spec -> what its owner should do, filled with the learner's value.
_REMEDIES = {
    "env_id": "start it with the same task",
    "control_mode": "start it with task.control_mode={0}",
    "observation_dim": "start it with the same task",
    "action_dim": "start it with the same task",
    "act_horizon": "start it with base.act_horizon={0}",
    "residual_every": "start it with algo.residual_every={0}",
    "base_fingerprint": "give both the same base.path",
    "residual_scale": "start it with algo.residual_scale={0}",
    "policy": "start it with the learner's algo",
    "optional_columns": "start it with the learner's configuration",
    "features_dim": "give both the same base.path, algo.sees and algo.critics_see",
    "success": "start it with the learner's task.success, and the same files of its classifier",
    "cameras": "start it with the learner's task.cameras, task.camera_size and learner.record_images",
}


def mismatch(hello: Hello, spec: ExperienceSpec) -> str | None:
    """One line on the first thing that keeps this client from this learner; None if it fits. A client that
    asks for the run has no spec to compare."""
    if not 0 < len(hello.actor_id) <= LONGEST_NAME or not hello.actor_id.isprintable():
        return f"the name {hello.actor_id[:LONGEST_NAME]!r} is not 1 to {LONGEST_NAME} printable characters"
    who = f"{hello.role} {hello.actor_id}"
    if hello.role not in ("actor", "evaluator"):
        return f"{who!r} is neither actor nor evaluator"
    if hello.protocol_version != PROTOCOL_VERSION:
        return (
            f"{who} speaks protocol {hello.protocol_version}, this learner {PROTOCOL_VERSION}: "
            "install the same release on both sides"
        )
    if hello.session not in SESSIONS:
        return f"the session number of {who} is not in 0 .. 2**63 - 1: draw another at random"
    if hello.spec is None:
        return None
    for name in spec.__struct_fields__:
        theirs, ours = getattr(hello.spec, name), getattr(spec, name)
        if theirs != ours:
            remedy = _REMEDIES[name].format(_as_set(ours))
            return f"{who} offers {name} {theirs}, this learner trains {name} {ours}: {remedy}"
    return None


def _as_set(value: Any) -> Any:
    """As a command line takes it: a list, not a tuple."""
    return list(cast(tuple[Any, ...], value)) if isinstance(value, tuple) else value
