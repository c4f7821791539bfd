"""The scripted experts by task."""

from actor.experts.contract import ScriptedExpert
from actor.experts.fetch import pick_and_place, push, reach
from actor.experts.pick_cube import pick_cube
from config.section import ConfigError
from config.task import SCALED, TaskConfig

EXPERTS = {
    "FetchReach-v4": ScriptedExpert(reach, 16, SCALED),
    "FetchPush-v4": ScriptedExpert(push, 31, SCALED),
    "FetchPickAndPlace-v4": ScriptedExpert(pick_and_place, 31, SCALED),
    "PickCube-v1": ScriptedExpert(pick_cube, 42, "pd_ee_delta_pose"),
}


def expert_of(task: TaskConfig) -> ScriptedExpert:
    """Of this task. Raises ConfigError: it has none, or none for this control mode."""
    expert = EXPERTS.get(task.env_id)
    if expert is None:
        raise ConfigError(
            f"configuration: actor.expert.run must be given with actor.intervene=expert: {task.env_id} "
            f"has no scripted expert; {', '.join(EXPERTS)} have one"
        )
    if task.control_mode != expert.control_mode:
        raise ConfigError(
            f"configuration: the script of {task.env_id} acts in control mode {expert.control_mode}, "
            f"the run in {task.control_mode}: set task.control_mode or actor.expert.run"
        )
    return expert
