"""What learner and actors must agree on, derived from the same configuration on both sides."""

from actor.policy.classifier.files import who_says_success
from actor.policy.contract import BasePolicy
from actor.policy.features import sizes_of
from actor.policy.steered import require_steerable
from config.algo import AlgoConfig
from config.main import Config
from config.reach import require_fitting
from protocol.messages import ExperienceSpec

TRUE_SUCCESS = "true_success"


def recorded_cameras(config: Config) -> dict[str, tuple[int, int]]:
    """Height and width of the cameras whose images are sent and kept."""
    width, height = config.task.camera_size
    cameras = () if config.learner.record_images is None else config.task.cameras
    return dict.fromkeys(cameras, (height, width))


def optional_columns(config: Config) -> tuple[str, ...]:
    """Of the rows, beside those of every run."""
    wanted = {
        "base_version": config.algo.trains_base,
        "log_prob": config.algo.decides == "sampling",
        "intervention": config.interventions,
        TRUE_SUCCESS: config.task.classifier is not None,
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def experience_spec(config: Config, base: BasePolicy) -> ExperienceSpec:
    """The spec that a Hello carries and a learner compares.
    Raises ConfigError: a residual_scale for other actions. CheckpointError: the residual sees features, and
    the base has none, or the algorithm chooses noise for a base that takes none."""
    require_fitting(config.algo.scale, base.action_dim)
    learned = config.algo if isinstance(config.algo, AlgoConfig) else None
    if learned is not None and learned.steers:
        require_steerable(base, config.base.path)
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
        optional_columns=optional_columns(config),
        features_dim=sizes_of(base, learned, config.base.path).features,
        success=who_says_success(config.task),
    )
