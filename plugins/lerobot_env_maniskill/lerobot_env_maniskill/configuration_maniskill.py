"""`--env.type=maniskill`: the settings of `env.py`, as LeRobot's command line takes them."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from gymnasium import spaces
from gymnasium.vector import VectorEnv
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_IMAGES, OBS_STATE

from .env import Settings, make_env

_STATES = {
    "agent_pos": (FeatureType.STATE, OBS_STATE),
    "environment_state": (FeatureType.ENV, OBS_ENV_STATE),
}


@EnvConfig.register_subclass("maniskill")
@dataclass
class ManiSkillConfig(EnvConfig):
    """Fields as in `env.Settings`. `features` are known once the environments are made."""

    task: str | None = Settings.task
    fps: int = Settings.fps
    control_mode: str = Settings.control_mode
    max_episode_steps: int = Settings.max_episode_steps
    robot_state_dim: int | None = Settings.robot_state_dim
    cameras: list[str] = field(default_factory=list)
    camera_size: list[int] = field(default_factory=lambda: list(Settings.camera_size))
    reconfigure: bool = Settings.reconfigure
    render: str = Settings.render
    imports: list[str] = field(default_factory=list)

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {}

    def create_envs(
        self, n_envs: int, use_async_envs: bool = False
    ) -> dict[str, dict[int, VectorEnv[Any, Any, Any]]]:
        names = {each.name for each in fields(Settings)}
        chosen: dict[str, Any] = {name: value for name, value in asdict(self).items() if name in names}
        for name in ("cameras", "camera_size", "imports"):
            chosen[name] = tuple(chosen[name])
        settings = Settings(**chosen)
        made = make_env(n_envs, use_async_envs, settings)
        self._describe(made.single_observation_space, made.single_action_space)
        return {self.type: {0: made}}

    def _describe(self, observation: Any, action: Any) -> None:
        self.features = {ACTION: PolicyFeature(FeatureType.ACTION, action.shape)}
        self.features_map = {ACTION: ACTION}
        for name, (kind, ours) in _STATES.items():
            if name in observation.spaces:
                self.features[name] = PolicyFeature(kind, observation[name].shape)
                self.features_map[name] = ours
        for camera, picture in observation.spaces.get("pixels", spaces.Dict()).items():
            self.features[f"pixels/{camera}"] = PolicyFeature(FeatureType.VISUAL, picture.shape)
            self.features_map[f"pixels/{camera}"] = f"{OBS_IMAGES}.{camera}"
