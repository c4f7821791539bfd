"""The demonstrations of a run that trains its base, as windows."""

import logging

from config.main import Config
from learner.base_training.episodes import EpisodeSet, WindowShape
from learner.replay.prior.check import require_dimensions, require_successful, wanted_by
from learner.replay.prior.read import read_demonstrations
from learner.replay.prior.source import require_prior_sources

log = logging.getLogger(__name__)


def read_prior_windows(config: Config, shape: WindowShape, dims: tuple[int, int]) -> EpisodeSet:
    """The successful episodes of `learner.demos`; none where the algorithm takes none.

    Args:
        dims: of an observation and an action of the task.

    Raises DemonstrationError, RunError: they are missing, do not fit, or none of them succeeded."""
    found, successful = EpisodeSet(shape, *dims), 0
    require_prior_sources(config)
    for source in config.prior_sources:
        episodes = read_demonstrations(source, wanted_by(config)).episodes
        require_dimensions(source, episodes[0], dims)
        chosen = [episode for episode in episodes if episode.success.any()]
        for episode in chosen:
            found.add(episode.observations, episode.actions)
        successful += len(chosen)
        log.info("%s: %d of %d episodes are successful", source, len(chosen), len(episodes))
    require_successful(config, successful)
    return found
