"""Why a run stopped at an update that was not finite: which rows it was to learn from."""

from collections.abc import Iterable

import msgspec

from config.main import Config
from learner.algorithms.finite import NonFinite
from learner.replay.journal.journal import Journal, JournalError
from learner.replay.memory.batches import Drawn
from learner.replay.origin import Origin, origins_of_prior, origins_of_replay
from learner.replay.prior.prior import PriorData
from learner.report.non_finite import Batch, write_non_finite
from protocol.arrays import Limits
from protocol.experience import ExperienceSpec


def explain(
    step: NonFinite, drawn: Drawn, config: Config, spec: ExperienceSpec, prior: PriorData | None
) -> str:
    """One line on what happened and what to do; writes checkpoints/non_finite.json.
    The journal and the dataset are read, and must be closed."""
    folder = config.run_dir / "checkpoints"
    try:
        described = write_non_finite(folder, step, _batch(drawn, config, spec, prior))
    except (OSError, JournalError) as error:
        described = f"the batch cannot be described ({error})"
    go_on = "from the last checkpoint" if (folder / "training.pt").exists() else "with new networks"
    return (
        f"{step}; the step was not made, all weights are finite; {described}. Remove such data or, if "
        f"they are right, lower algo.critic_lr and algo.actor_lr; the same command then goes on {go_on}"
    )


def _batch(drawn: Drawn, config: Config, spec: ExperienceSpec, prior: PriorData | None) -> Batch:
    is_prior = drawn.is_prior
    replayed = _of_replay({*drawn.start[~is_prior].tolist(), *drawn.end[~is_prior].tolist()}, config, spec)
    wanted = {*drawn.start[is_prior].tolist(), *drawn.end[is_prior].tolist()}
    shown = {} if prior is None else origins_of_prior(prior.columns, prior.sources, wanted)
    start, end = (
        [
            (shown if of_prior else replayed).get(position, Origin())
            for position, of_prior in zip(positions.tolist(), is_prior.tolist(), strict=True)
        ]
        for positions in (drawn.start, drawn.end)
    )
    fields = {name: values.numpy() for name, values in drawn.transitions._asdict().items()}
    return Batch(fields, start, end)


def _of_replay(positions: Iterable[int], config: Config, spec: ExperienceSpec) -> dict[int, Origin]:
    limits = msgspec.convert(config.wire, Limits, from_attributes=True)
    journal = Journal(config.run_dir / "journal", config.learner.journal, spec, limits)
    try:
        return origins_of_replay(config.run_dir / "replay", journal.replay(), positions)
    finally:
        journal.close()
