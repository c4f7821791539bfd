"""What a rank other than rank 0 does in the training of a base: it has the windows, and updates."""

import torch

from learner.base_training.trainer import BaseTrainer
from learner.base_training.windows import Windows
from learner.ranks.ranks import Ranks
from learner.ranks.starts import BaseStart, RunStart, hear_start, hear_state, lead

# Updates between two looks at what was skipped; on a GPU a look waits.
_UPDATES_PER_LOOK = 50


def lead_base(ranks: Ranks, trainer: BaseTrainer, data: Windows) -> None:
    """Rank 0: have the others make the same trainer."""
    start = BaseStart(trainer.settings, data.counts)
    lead(ranks, start, {"history": data.history, "actions": data.actions}, trainer.state())


def follow_base(ranks: Ranks, start: RunStart | BaseStart | None = None) -> None:
    """Update until rank 0 ends this process."""
    start = start or hear_start(ranks)
    assert isinstance(start, BaseStart)
    settings = start.settings
    torch.set_num_threads(settings.threads)
    trainer = BaseTrainer(settings, Windows(**hear_state(ranks), counts=start.counts), ranks)
    trainer.load_state(hear_state(ranks))
    for _ in ranks.orders():
        trainer.update()
        if trainer.step % _UPDATES_PER_LOOK == 0:
            trainer.first_skipped()
