"""Preallocated replay of transitions: seeded sampling, n-step returns, checkable.

Every decision is one row; every episode's final observation is one more, so that each observation
is stored once. `following[row]` is the row of the same sub-environment's next decision (or final
observation), which makes transitions right for any interleaving of any number of actors. A row
whose successor has not arrived is never sampled.

What the update reads lies side by side, so that a batch costs two selections of whole rows: where
its transitions begin, and where they end. Those rows may be on a GPU; the pointers stay on the host.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from learner.replay.memory.images import Pictures, RingImages, SeenTransitions
from learner.replay.memory.succession import Succession
from learner.replay.memory.sum_tree import SumTree
from learner.replay.memory.transitions import FACTS, find_ends, gather
from protocol.messages import Columns

# Of drawing by chance, before all rows are looked at.
_ATTEMPTS = 10


class TransitionBatch(NamedTuple):
    """Transitions over up to n decisions; B rows, all float32, on the ring's device.

    The loss sees `discount`: gamma^m, and 0 where the episode terminated within the m decisions.
    A truncated episode keeps its discount and bootstraps from its true final observation.
    """

    observation: Tensor
    base_plan: Tensor
    residual: Tensor
    reward: Tensor
    discount: Tensor
    next_observation: Tensor
    next_base_plan: Tensor


class Prioritised(NamedTuple):
    """A batch drawn in proportion to priorities."""

    batch: TransitionBatch
    positions: np.ndarray
    """i8 (B,), for `Ring.set_priorities`."""
    weights: Tensor
    """f4 (B,), importance weights (N P)^-beta of rows that are drawn with probability P among N."""


class Ring:
    """Rows 0 .. capacity - 1, overwritten oldest first. Any thread may add while others sample.

    Args:
        capacity: decisions and final observations.
        residual_numbers: k * A, the flat width of a base plan and of a residual.
        device: where rows and batches are.
        prioritised: whether `sample_prioritised` may be called.
        cameras: height and width of each whose images are kept as well, see `sample_with_images`.
    """

    def __init__(
        self,
        capacity: int,
        observation_dim: int,
        residual_numbers: int,
        *,
        device: str | torch.device = "cpu",
        prioritised: bool = False,
        cameras: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.capacity = capacity
        self.observation_dim, self.residual_numbers = observation_dim, residual_numbers
        self._widths = (observation_dim, residual_numbers, residual_numbers)
        self._rows = _zeros(capacity, sum(self._widths), torch.device(device))
        # One more slot, which stands for "no row": it follows itself and is worth nothing.
        self._facts = np.zeros(capacity + 1, FACTS)
        self.following, self.reward, self.terminated = (self._facts[name] for name in FACTS.fields or ())
        self.following[:] = capacity
        # How many rows were ever written: row `position` lies in slot `position % capacity`.
        self.position = 0
        self._succession = Succession()
        self._priorities = SumTree(capacity) if prioritised else None
        self._highest_priority = 1.0
        self._images = RingImages(capacity, cameras, device) if cameras else None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that are planned, all of them at the start."""
        tree = 0 if self._priorities is None else self._priorities.nbytes
        images = 0 if self._images is None else self._images.nbytes
        return self._rows.numel() * self._rows.element_size() + self._facts.nbytes + tree + images

    @property
    def unlinked(self) -> int:
        """Decisions whose successor never came."""
        return self._succession.broken

    @property
    def unknown(self) -> int:
        """What `following` says of a row without a successor."""
        return self.capacity

    @property
    def observation(self) -> Tensor:
        """f4 (capacity, O), a view."""
        return self._rows[:, : self._widths[0]]

    def __len__(self) -> int:
        return min(self.position, self.capacity)

    def add(self, actor_id: str, columns: Columns, position: int | None = None) -> int:
        """Append the decisions of one message (see `protocol.messages.Experience`).

        Args:
            position: where its first row was before, for a message that comes again after a restart;
                what was overwritten since is left out.

        Returns:
            The position of its first row.

        Raises:
            ValueError: the message holds more rows than the ring.
        """
        decisions, finals = len(columns["frames"]), columns["final_row"]
        total = decisions + len(finals)
        if total > self.capacity:
            raise ValueError(f"{total} rows in one message exceed the ring's capacity {self.capacity}")
        # A final observation lies right behind the decision that it ends.
        offsets = np.arange(decisions) + np.searchsorted(finals, np.arange(decisions))
        final_offsets = offsets[finals] + 1
        block = np.zeros((total, sum(self._widths)), np.float32)
        observation, base_plan, residual = np.split(block, np.cumsum(self._widths)[:-1], axis=1)
        observation[offsets] = columns["observation"][:, 0]
        base_plan[offsets] = columns["base_plan"].reshape(decisions, -1)
        residual[offsets] = columns["residual"].reshape(decisions, -1)
        observation[final_offsets] = columns["final_observation"]
        base_plan[final_offsets] = columns["final_base_plan"].reshape(len(finals), base_plan.shape[1])
        reward, terminated = np.zeros(total, np.float32), np.zeros(total, bool)
        reward[offsets] = columns["reward"].sum(1)
        terminated[offsets] = columns["terminated"]
        with self._lock:
            first = self.position if position is None else position
            if first + total <= self.position - self.capacity:
                return first
            self.position = max(self.position, first + total)
            self._write(first, block, reward, terminated)
            if self._images is not None:
                oldest = self.position - self.capacity
                self._images.add(columns, first + offsets, first + final_offsets, oldest)
            links = [(first + offsets[finals], first + final_offsets)]
            links += self._succession.links(actor_id, columns, first + offsets)
            self._point(*(np.concatenate(ends) for ends in zip(*links, strict=True)))
        return first

    def restore(
        self, positions: np.ndarray, block: np.ndarray, reward: np.ndarray, terminated: np.ndarray,
        successors: np.ndarray,
    ) -> None:  # fmt: skip
        """Put M rows back where they were; those older than the ring's capacity are left out.

        Args:
            positions: i8 (M,), below `self.position`.
            block: f4 (M, O + 2 k A): observation, base plan, residual.
            successors: i8 (M,), the position of each row's successor, -1 where there is none.
        """
        with self._lock:
            kept = positions >= self.position - self.capacity
            slots = positions[kept] % self.capacity
            self._rows[torch.from_numpy(slots).to(self._rows.device)] = torch.from_numpy(block[kept]).to(
                self._rows.device
            )
            self.reward[slots], self.terminated[slots] = reward[kept], terminated[kept]
            linked = kept & (successors >= 0)
            self._point(positions[linked], successors[linked])

    def sample(
        self, rows: int, rng: np.random.Generator, *, n_step: int, gamma: float, reward_offset: float
    ) -> TransitionBatch:
        """`rows` transitions, uniform over all rows that have a successor.

        Args:
            reward_offset: added to every decision's reward (-1 for "sparse minus one").

        Raises:
            ValueError: nothing can be sampled yet.
        """
        with self._lock:
            start = self._draw(rows, rng)
            return self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)[0]

    @property
    def keeps_images(self) -> bool:
        """Whether images of cameras are in it."""
        return self._images is not None

    def restore_images(self, positions: np.ndarray, pictures: Pictures) -> None:
        """Put the images of rows at these positions back, as `restore` does with the rows."""
        with self._lock:
            self._image_rows().restore(positions, pictures, self.position - self.capacity)

    def sample_with_images(
        self, rows: int, rng: np.random.Generator, *, n_step: int, gamma: float, reward_offset: float
    ) -> tuple[TransitionBatch, SeenTransitions]:
        """As `sample`, the same rows for the same `rng`, with the images at both ends of each transition.

        Raises:
            ValueError: nothing can be sampled yet, or the ring keeps no images.
        """
        images = self._image_rows()
        with self._lock:
            start = self._draw(rows, rng)
            batch, end = self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
            return batch, SeenTransitions(images.at(start), images.at(end))

    def sample_prioritised(
        self,
        rows: int,
        rng: np.random.Generator,
        *,
        beta: float,
        n_step: int,
        gamma: float,
        reward_offset: float,
    ) -> Prioritised:
        """`rows` transitions, each drawn in proportion to its row's priority, in O(rows log capacity).

        Args:
            beta: how much the weights make up for the unequal draw: 0 not at all, 1 wholly.

        Raises:
            ValueError: nothing can be sampled yet, or the ring keeps no priorities.
        """
        tree = self._tree()
        with self._lock:
            if not tree.total > 0:
                raise ValueError("the replay holds no transition yet")
            # One draw in each of `rows` equal parts of the total: the same odds, less spread.
            start = tree.find((np.arange(rows) + rng.random(rows)) * (tree.total / rows))
            weights = (tree[start] * (len(self) / tree.total)) ** -beta
            positions = self.position - 1 - (self.position - 1 - start) % self.capacity
            batch, _ = self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
        return Prioritised(batch, positions, self._here(weights.astype(np.float32)))

    def set_priorities(self, positions: np.ndarray, priorities: np.ndarray) -> None:
        """New priorities, above zero, of rows that were sampled; rows overwritten since are left out.

        New rows get the highest priority so far, so that each is likely to be seen once.
        """
        if not (np.isfinite(priorities).all() and (priorities > 0).all()):
            raise ValueError("priorities must be finite and above 0")
        with self._lock:
            kept = positions >= self.position - self.capacity
            self._tree().set(positions[kept] % self.capacity, priorities[kept])
            self._highest_priority = max(self._highest_priority, float(priorities.max(initial=0)))

    def transitions(
        self, start: np.ndarray, *, n_step: int, gamma: float, reward_offset: float
    ) -> TransitionBatch:
        """n-step transitions that begin at slots `start`, each of which has a successor.

        A chain ends early at an episode's end, or where the next successor has not arrived.
        """
        with self._lock:
            return self._transitions(start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)[0]

    def check_valid(self) -> None:
        """Raise AssertionError if an invariant is broken; for tests and debugging."""
        with self._lock:
            slots = np.flatnonzero(self.following != self.unknown)
            assert len(slots) == 0 or slots.max() < len(self), "a successor outside the written rows"
            after = self.following[slots]
            age = (self.position - 1 - slots) % self.capacity
            assert np.all((self.position - 1 - after) % self.capacity < age), "a successor older than its row"
            assert len(np.unique(after)) == len(after), "two rows share a successor"
            assert not self.terminated[-1] and self.reward[-1] == 0, (
                "the row that stands for none was changed"
            )
            if self._priorities is not None:
                weighted = np.flatnonzero(self._priorities[np.arange(self.capacity)] > 0)
                assert np.array_equal(weighted, slots), "priorities of other rows than those with a successor"

    def _write(self, first: int, block: np.ndarray, reward: np.ndarray, terminated: np.ndarray) -> None:
        """Rows from position `first` on, in at most two pieces; they have no successors yet."""
        skipped = max(0, self.position - self.capacity - first)
        at = (first + skipped) % self.capacity
        rows = torch.from_numpy(block)
        while skipped < len(block):
            count = min(len(block) - skipped, self.capacity - at)
            piece, slots = slice(skipped, skipped + count), slice(at, at + count)
            self._rows[slots] = rows[piece]
            self.reward[slots], self.terminated[slots] = reward[piece], terminated[piece]
            self.following[slots] = self.unknown
            if self._priorities is not None:
                self._priorities.set(np.arange(at, at + count), 0.0)
            skipped, at = skipped + count, 0

    def _point(self, rows: np.ndarray, successors: np.ndarray) -> None:
        """Let rows (positions) have successors, unless either was overwritten."""
        kept = (rows >= self.position - self.capacity) & (successors >= self.position - self.capacity)
        slots = rows[kept] % self.capacity
        self.following[slots] = successors[kept] % self.capacity
        if self._priorities is not None:
            self._priorities.set(slots, self._highest_priority)

    def _transitions(
        self, start: np.ndarray, *, n_step: int, gamma: float, reward_offset: float
    ) -> tuple[TransitionBatch, np.ndarray]:
        """Transitions that begin at `start`, and the slots that they end at."""
        ends = find_ends(self._facts, start, n_step=n_step, gamma=gamma, reward_offset=reward_offset)
        o, n, _ = self._widths
        before, after = gather(self._rows, start, ends.slots, o + n)
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

    def _here(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._rows.device, non_blocking=True)

    def _draw(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """Slots with a successor, uniform, by rejection: nearly always all but a few rows have one."""
        if not len(self):
            raise ValueError("the replay is empty")
        found = np.zeros(0, np.int64)
        for _ in range(_ATTEMPTS):
            # An eighth more than are missing: a second draw is rare.
            drawn = rng.integers(len(self), size=(rows - len(found)) * 9 // 8 + 8)
            drawn = drawn[self.following[drawn] != self.unknown]
            found = np.concatenate([found, drawn]) if len(found) else drawn
            if len(found) >= rows:
                return found[:rows]
        # Few do in a ring that was restored from a dataset whose oldest episodes had to go.
        known = np.flatnonzero(self.following[: len(self)] != self.unknown)
        if not len(known):
            raise ValueError(f"no transition among {len(self)} rows: every decision waits for its successor")
        return known[rng.integers(len(known), size=rows)]

    def _image_rows(self) -> RingImages:
        if self._images is None:
            raise ValueError("the ring keeps no images: make it with cameras")
        return self._images

    def _tree(self) -> SumTree:
        if self._priorities is None:
            raise ValueError("the ring keeps no priorities: make it with prioritised=True")
        return self._priorities


def _zeros(rows: int, width: int, device: torch.device) -> Tensor:
    """Zeros (rows, width) as float32, in memory that is there.

    Numpy asks the kernel for huge pages: rows drawn from gigabytes of small ones wait for the page table,
    each of them. They are touched here, once, so that no message waits for the kernel later, and a machine
    without room says so at the start.
    """
    if device.type != "cpu":
        return torch.zeros((rows, width), device=device)
    block = np.zeros((rows, width), np.float32)
    block.fill(0)
    return torch.from_numpy(block)
