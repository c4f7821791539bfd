"""Whether prior data is what a run needs, without its base: see `launch.run.inputs`. Imports no torch."""

from config.main import Config
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import Wanted, read_demonstrations


def wanted_by(config: Config) -> Wanted:
    """What prior data must be for a run."""
    return Wanted(
        env_id=config.task.env_id,
        control_mode=config.task.control_mode,
        fps=config.learner.fps,
        last_frame_succeeds=config.learner.demos_without_success == "last_frame",
        other_tasks=config.learner.demos_of_other_tasks == "accept",
        success_allowed_by="learner.demos_without_success=last_frame",
        tasks_allowed_by="learner.demos_of_other_tasks=accept",
    )


def require_prior(config: Config, dims: tuple[int, int]) -> None:
    """Read all of a run's prior data, one source after the other, and keep nothing.

    Args:
        dims: of an observation and an action of the task, which are those of every base that can run it.

    Raises:
        DemonstrationError: as `read_demonstrations`, data of other dimensions, or none to imitate.
    """
    successful = 0
    for source in config.prior_sources:
        episodes = read_demonstrations(source, wanted_by(config)).episodes
        require_dimensions(source, episodes[0], dims)
        successful += sum(bool(episode.success.any()) for episode in episodes)
    if config.algo.trains_base:
        require_successful(config, successful)


def require_successful(config: Config, successful: int) -> None:
    """Raise DemonstrationError if prior data that is to be imitated has no successful episode."""
    if config.prior_sources and not successful:
        raise DemonstrationError(
            f"{', '.join(config.prior_sources)}: no successful episode, so there is nothing to imitate: "
            "choose other learner.demos"
        )


def require_dimensions(source: str, episode: Demonstration, dims: tuple[int, int]) -> None:
    """Raise DemonstrationError unless an episode has these dimensions of observation and action."""
    there = episode.observations.shape[1], episode.actions.shape[1]
    if there != dims:
        raise DemonstrationError(
            f"{source} has observation_dim {there[0]} and action_dim {there[1]}, the task {dims[0]} "
            f"and {dims[1]}: choose learner.demos, and a base, of this task and control mode"
        )
