"""The demonstrations that a base is trained on: read, checked against the task, and some of them kept."""

from pathlib import Path

from actor.policy.dimensions import simulated_dimensions
from config.process import UsageError
from config.section import ConfigError
from config.spaces import known_spaces
from config.train_base import TrainBaseConfig
from learner.base_training.evaluation import played_task
from learner.base_training.windows import Windows, make_windows
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.origin import Origin
from learner.replay.prior.read import Wanted, read_demonstrations


def read_episodes(settings: TrainBaseConfig) -> list[Demonstration]:
    """The demonstrations of all sources in turn, whatever their format.
    Raises DemonstrationError: none there, not readable, or of sources that do not go together."""
    wanted = Wanted(
        env_id=settings.task,
        control_mode=settings.control_mode,
        observation=settings.observation,
        limit=settings.max_episodes,
        last_frame_succeeds=settings.demos_without_success == "last_frame",
        other_tasks=settings.demos_of_other_tasks == "accept",
    )
    episodes: list[Demonstration] = []
    for source in settings.sources:
        found = read_demonstrations(source, wanted).episodes
        if episodes and _dims(found[0]) != _dims(episodes[0]):
            raise DemonstrationError(
                f"{source} has observation and action dimensions {_dims(found[0])}, "
                f"{settings.sources[0]} has {_dims(episodes[0])}: choose demos of one task and control mode"
            )
        episodes += found
    return episodes


def _dims(episode: Demonstration) -> tuple[int, int]:
    return episode.observations.shape[1], episode.actions.shape[1]


def windows_of(settings: TrainBaseConfig, episodes: list[Demonstration]) -> Windows:
    """What the network is trained on. Raises DemonstrationError: no episode has a window."""
    pairs = [(episode.observations, episode.actions) for episode in episodes]
    windows = make_windows(pairs, settings.obs_horizon, settings.pred_horizon)
    if not sum(windows.counts):
        longest = max(len(episode.actions) for episode in episodes)
        raise DemonstrationError(
            f"{settings.sources[0]}: the longest episode has {longest} actions, training needs 2 or more of "
            "one: choose longer demonstrations"
        )
    return windows


def require_task_sizes(settings: TrainBaseConfig, episodes: list[Demonstration]) -> None:
    """Raise DemonstrationError, naming both sides, if the base could not act in its task afterwards.
    Raises ConfigError: nothing knows the task, in which the base is to be evaluated."""
    known = known_spaces(settings.task, settings.control_mode)
    if settings.evaluation.every:
        try:
            known = simulated_dimensions(played_task(settings))
        except UsageError as error:
            raise ConfigError(f"{error} (evaluation.every=0 trains without playing the task)") from error
    for what, wanted, found in (
        ("observation", known.observation_dim, episodes[0].observations.shape[1]),
        ("action", known.action_dim, episodes[0].actions.shape[1]),
    ):
        if wanted not in (None, found):
            raise DemonstrationError(
                f"{settings.sources[0]} has {what} dimension {found}, task={settings.task} "
                f"control_mode={settings.control_mode} has {wanted}: choose other demos, or other features "
                "of a LeRobot dataset with observation=[...]"
            )


def keep_demonstrations(settings: TrainBaseConfig, episodes: list[Demonstration]) -> None:
    """Write some of the demonstrations beside the base, as the prior data of a run on it."""
    place = settings.folder / "demos.h5"
    if settings.keep_demos and place.resolve() not in {Path(source).resolve() for source in settings.sources}:
        kept = [episode.cut_at_success() for episode in episodes[: settings.keep_demos]]
        write_maniskill(place, kept, Origin(settings.task, (settings.control_mode,)))
