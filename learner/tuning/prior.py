"""The demonstrations of a run that trains its base, as windows."""

import logging

from config.main import Config
from learner.base_training.episodes import EpisodeSet, WindowShape
from learner.replay.prior.check import require_dimensions, wanted_by
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import read_demonstrations
from learner.replay.prior.source import require_prior_sources

log = logging.getLogger(__name__)


def read_prior_windows(config: Config, shape: WindowShape, dims: tuple[int, int]) -> EpisodeSet:
    """The successful episodes of `learner.demos`; none where the algorithm takes none.

    Args:
        dims: of an observation and an action of the task.

    Raises DemonstrationError, RunError: they are missing, do not fit, or none of them succeeded."""
    found = EpisodeSet(shape, *dims)
    require_prior_sources(config)
    for source in config.prior_sources:
        episodes = read_demonstrations(source, wanted_by(config)).episodes
        require_dimensions(source, episodes[0], dims)
        successful = [episode for episode in episodes if episode.success.any()]
        for episode in successful:
            found.add(episode.observations, episode.actions)
        log.info("%s: %d of %d episodes are successful", source, len(successful), len(episodes))
    if config.prior_sources and not len(found):
        raise DemonstrationError(
            f"{', '.join(config.prior_sources)}: no successful episode, so there is nothing to imitate: "
            "choose other learner.demos"
        )
    return found
