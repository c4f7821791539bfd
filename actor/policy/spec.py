"""What learner and actors must agree on, derived from the same configuration on both sides."""

from actor.policy.classifier.files import who_says_success
from actor.policy.contract import BasePolicy
from config.main import Config
from protocol.messages import ExperienceSpec

TRUE_SUCCESS = "true_success"


def recorded_cameras(config: Config) -> dict[str, tuple[int, int]]:
    """Height and width of the cameras whose images are sent and kept."""
    width, height = config.task.camera_size
    cameras = () if config.learner.record_images is None else config.task.cameras
    return dict.fromkeys(cameras, (height, width))


def experience_spec(config: Config, base: BasePolicy) -> ExperienceSpec:
    """The spec that a Hello carries and a learner compares."""
    return ExperienceSpec(
        env_id=config.task.env_id,
        control_mode=config.task.control_mode,
        observation_dim=base.observation_dim,
        action_dim=base.action_dim,
        act_horizon=base.act_horizon,
        residual_every=config.algo.residual_every,
        base_fingerprint=base.fingerprint,
        residual_scale=config.algo.scale,
        policy=config.algo.describe(),
        cameras=recorded_cameras(config),
        success=who_says_success(config.task),
        optional_columns=(*(("base_version",) if config.algo.trains_base else ()), *_of_judge(config)),
    )


def _of_judge(config: Config) -> tuple[str, ...]:
    """What is kept where a classifier says success."""
    return () if config.task.classifier is None else (TRUE_SUCCESS,)
