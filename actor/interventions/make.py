"""The source of a configuration."""

from actor.interventions.contract import ActionSource
from actor.interventions.expert import Expert
from actor.interventions.nobody import Nobody
from actor.simulators.contract import VectorEnvironment
from config.main import Config


def make_source(config: Config, envs: VectorEnvironment, first_seed: int) -> ActionSource | None:
    """Who may act instead of the policy in `envs`; None: the run's experience does not say who acted.

    Raises:
        CheckpointError, ConfigError: of the expert.
        InterventionError: nobody can intervene as the configuration says.
    """
    if not config.interventions:
        return None
    match config.actor.intervene:
        case "expert":
            sizes = envs.observation_dim, envs.action_dim
            return Expert.of(config, envs.num_envs, first_seed, sizes)
        case "keyboard":
            from actor.interventions.keyboard import Keyboard

            return Keyboard.of(config.actor, envs.num_envs, envs.action_dim)
        case "teleop":
            from actor.interventions.teleop import Teleop

            return Teleop.of(config.actor, envs.num_envs, envs.action_dim)
        case None:
            return Nobody(envs.num_envs, envs.action_dim)
