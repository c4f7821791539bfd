"""Preallocated replay of transitions: seeded sampling, n-step returns.

Every decision is one row; every episode's final observation is one more, so that each observation
is stored once. Each row knows its successor: the row of the same sub-environment's next decision or
final observation, which makes transitions right for any interleaving of any number of actors. A row
whose successor has not arrived is never sampled.
"""

import threading
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from actor.policy.pictures import stacked
from config.pictures import PicturesConfig
from config.reach import Scale
from learner.replay.memory.columns import SeenTransitions, Shapes, StoredColumns, image_shapes
from learner.replay.memory.draw import draw_linked
from learner.replay.memory.hindsight import Hindsight
from learner.replay.memory.intervened import Intervened
from learner.replay.memory.message_rows import rows_of
from learner.replay.memory.rows import Flags, Floats, Rows, Slots
from learner.replay.memory.succession import Succession
from learner.replay.memory.transitions import TransitionBatch, find_ends, gather
from protocol.arrays import Columns
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX


class Sampled(NamedTuple):
    """Transitions, and the slots at which they begin and end."""

    transitions: TransitionBatch
    start: Slots
    end: Slots
    pictures: Tensor | None = None
    """(B, D, H, W), where they begin, see `actor.policy.pictures`; None: nobody asked for them."""
    next_pictures: Tensor | None = None
    """Where they end."""


class Ring:
    """The newest `capacity` rows. Any thread may add while others sample.

    Args:
        capacity: decisions and final observations.
        residual_dim: k * A, of a base plan and of a residual.
        features_dim: of the base's features, which are kept behind the observations.
        residual_scale: of the residuals; needed only where somebody intervenes.
        device: where rows and batches are.
        cameras: height and width of each whose images are kept as well, see `sample_with_images`.
        optional: optional columns of decisions that are kept as well, see `sample_with_optional`.
    """

    def __init__(
        self,
        capacity: int,
        observation_dim: int,
        residual_dim: int,
        *,
        device: str | torch.device = "cpu",
        cameras: Mapping[str, tuple[int, int]] | None = None,
        optional: Shapes | None = None,
        residual_scale: Scale | None = None,
        features_dim: int = 0,
    ) -> None:
        self.capacity = capacity
        self.observation_dim, self.residual_dim = observation_dim, residual_dim
        self.features_dim, self._row = features_dim, observation_dim + features_dim
        self.rows = Rows(capacity, self._row + 2 * residual_dim, torch.device(device))
        self.lost = 0
        """Decisions of an earlier process that could not be restored."""
        self.succession = Succession()
        self.residual_scale = residual_scale
        self.intervened = Intervened(self.rows)
        self.images = StoredColumns(capacity, image_shapes(cameras or {}), device)
        self.optional = StoredColumns(capacity, optional or {}, device)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """All of them allocated at the start."""
        return self.rows.nbytes + self.images.nbytes + self.optional.nbytes

    @property
    def observation(self) -> Tensor:
        """f4 (capacity, O + E), a view."""
        return self.rows.block[:, : self._row]

    def add(self, actor_id: str, columns: Columns, position: int | None = None) -> int:
        """Append the decisions of one message (see `protocol.messages.Experience`).

        Args:
            position: of its first row, for a message that was added before a restart; rows that were
                overwritten since are left out.

        Returns:
            The position of its first row.

        Raises:
            ValueError: the message has more rows than the ring.
        """
        new = rows_of(
            columns, self.observation_dim, self.features_dim, self.residual_dim, self.residual_scale
        )
        total = len(new.block)
        if total > self.capacity:
            raise ValueError(f"{total} rows in one message exceed the ring's capacity {self.capacity}")
        with self._lock:
            first = self.rows.position if position is None else position
            if first + total <= self.rows.oldest:
                return first
            self.rows.write(first, new.block, new.reward, new.terminated)
            decisions, finals = first + new.decisions, first + new.finals
            self._put_images(columns, decisions, finals)
            self.optional.put(decisions, columns, self.rows.oldest)
            self.intervened.add(decisions, columns)
            links = [(first + new.last_decisions, finals)]
            links += self.succession.links(actor_id, columns, decisions)
            self.rows.link(*(np.concatenate(ends) for ends in zip(*links, strict=True)))
        return first

    def restore(
        self, positions: Slots, block: Floats, reward: Floats, terminated: Flags, successors: Slots
    ) -> None:
        """Put M rows back where they were; those that would have been overwritten are left out.

        Args:
            positions: i8 (M,), below `rows.position`.
            block: f4 (M, O + E + 2 k A), as in `MessageRows`.
            successors: i8 (M,), the position of each row's successor, -1 where there is none.
        """
        with self._lock:
            self.rows.put(positions, block, reward, terminated)
            linked = successors >= 0
            self.rows.link(positions[linked], successors[linked])

    def restore_columns(self, stored: StoredColumns, positions: Slots, values: Columns) -> None:
        """Put `images` or `optional` of rows at these positions back, as `restore` does with the rows."""
        with self._lock:
            stored.put(positions, values, self.rows.oldest)
            self.intervened.add(positions, values)

    def sample(
        self, count: int, rng: np.random.Generator, *, n_step: int, gamma: float, reward_offset: float
    ) -> TransitionBatch:
        """`count` transitions, uniform over all rows that have a successor.
        `reward_offset`: added to every decision's reward (-1 for "sparse minus one").
        Raises ValueError: nothing can be sampled yet."""
        return self.sample_with_places(
            count, rng, n_step=n_step, gamma=gamma, reward_offset=reward_offset
        ).transitions

    def sample_with_places(
        self,
        count: int,
        rng: np.random.Generator,
        *,
        n_step: int,
        gamma: float,
        reward_offset: float,
        intervened: bool = False,
        hindsight: Hindsight | None = None,
        looks_at: PicturesConfig | None = None,
    ) -> Sampled:
        """As `sample`, the same rows for the same `rng`, with the slots at both ends of each transition.

        Args:
            intervened: of the decisions in which somebody intervened alone.
            hindsight: gives some of them other goals.
            looks_at: with such pictures, of a ring that keeps their images.
        """
        with self._lock:
            start = draw_linked(self.rows, count, rng, self.intervened.linked if intervened else None)
            batch, end = self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
            if hindsight is not None:
                batch, end = hindsight.relabel(
                    self.rows, batch, end, start, rng,
                    n_step=n_step, gamma=gamma, reward_offset=reward_offset,
                )  # fmt: skip
            if looks_at is None:
                return Sampled(batch, start, end)
            return Sampled(batch, start, end, *(self._pictures(slots, looks_at) for slots in (start, end)))

    def sample_with_optional(
        self, count: int, rng: np.random.Generator, *, n_step: int, gamma: float, reward_offset: float
    ) -> tuple[TransitionBatch, dict[str, Tensor]]:
        """As `sample`, the same rows for the same `rng`, with the optional columns of the decisions that the
        transitions begin with."""
        with self._lock:
            start = draw_linked(self.rows, count, rng)
            batch, _ = self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
            return batch, self.optional.at(start)

    def sample_with_images(
        self, count: int, rng: np.random.Generator, *, n_step: int, gamma: float, reward_offset: float
    ) -> tuple[TransitionBatch, SeenTransitions]:
        """As `sample`, the same rows for the same `rng`, with the images at both ends of each transition.
        Raises ValueError: nothing can be sampled yet, or the ring keeps no images."""
        if not self.images.names:
            raise ValueError("the ring keeps no images: make it with cameras")
        with self._lock:
            start = draw_linked(self.rows, count, rng)
            batch, end = self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
            return batch, SeenTransitions(self.images.at(start), self.images.at(end))

    @property
    def has_transitions(self) -> bool:
        """Whether something can be sampled."""
        with self._lock:
            return len(self.rows.linked) > 0

    @property
    def has_intervened(self) -> bool:
        """Whether a transition begins with a decision in which somebody intervened."""
        with self._lock:
            return len(self.intervened.linked) > 0

    def transitions(
        self, start: Slots, *, n_step: int, gamma: float, reward_offset: float
    ) -> TransitionBatch:
        """n-step transitions that begin at slots `start`, each of which has a successor.

        A chain ends early at an episode's end, or where the next successor has not arrived.
        """
        with self._lock:
            return self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)[0]

    def _transitions(
        self, start: Slots, *, n_step: int, gamma: float, reward_offset: float
    ) -> tuple[TransitionBatch, Slots]:
        """Transitions that begin at `start`, and the slots that they end at."""
        ends = find_ends(self.rows.facts, start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
        o, n = self._row, self.residual_dim
        before, after = gather(self.rows.block, start, ends.slots, o + n)
        batch = TransitionBatch(
            observation=before[:, :o],
            base_plan=before[:, o : o + n],
            residual=before[:, o + n :],
            reward=self._here(ends.reward),
            discount=self._here(ends.discount),
            next_observation=after[:, :o],
            next_base_plan=after[:, o:],
        )
        return batch, ends.slots

    def _pictures(self, slots: Slots, settings: PicturesConfig) -> Tensor:
        """Of the decisions in these slots and those before them, (B, D, H, W)."""
        chain = [slots]
        while len(chain) < settings.frames:
            chain.insert(0, self.rows.before(chain[0]))
        frames = [self.images.at(each) for each in chain]
        shown = {camera: torch.stack([each[camera] for each in frames], dim=1) for camera in settings.cameras}
        return stacked(shown, settings)

    def _here(self, values: Floats) -> Tensor:
        return torch.as_tensor(values).to(self.rows.block.device, non_blocking=True)

    def _put_images(self, columns: Columns, decisions: Slots, finals: Slots) -> None:
        """Of the first frame of each decision, and of final observations."""
        cameras, oldest = self.images.names, self.rows.oldest
        first = {camera: columns[IMAGE_PREFIX + camera][:, 0] for camera in cameras}
        self.images.put(decisions, first, oldest)
        last = {camera: columns[FINAL_IMAGE_PREFIX + camera] for camera in cameras}
        self.images.put(finals, last, oldest)
