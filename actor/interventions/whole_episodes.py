"""Rows that wait for the end of their episode, since it may be thrown away."""

from collections import defaultdict, deque

import numpy as np

from actor.interventions.marked import MarkedEnvironment
from actor.rollout import Rollout, take_first
from actor.rollout_around import RolloutAround
from protocol.arrays import Columns
from protocol.experience import ExperienceSpec, Per, columns_of


class WholeEpisodes(RolloutAround):
    """As `rollout`, which plays in `envs`; rows are to be taken once their episode has ended."""

    def __init__(self, rollout: Rollout, envs: MarkedEnvironment, spec: ExperienceSpec) -> None:
        super().__init__(rollout)
        self._envs = envs
        self._per_end = {column.name for column in columns_of(spec) if column.per is Per.END}
        self._open: dict[int, list[Columns]] = defaultdict(list)
        self._ended: deque[Columns] = deque()
        self.thrown_away = 0
        """Episodes."""

    @property
    def rows(self) -> int:
        return len(self._ended)

    def step(self) -> None:
        super().step()
        if self._rollout.rows:
            self._hold(self._rollout.take())

    def take(self, enough: int | None = None) -> Columns:
        """The oldest decisions of episodes that have ended; call when `rows` > 0.

        Args:
            enough: rows to take, which may be a part of an episode; None: all.
        """
        return take_first(self._ended, self.rows if enough is None else enough)

    def _hold(self, columns: Columns) -> None:
        ends = columns["final_row"].tolist()
        for row, sub_env in enumerate(columns["sub_env"].tolist()):
            at = slice(ends.index(row), ends.index(row) + 1) if row in ends else slice(0, 0)
            cut = {
                name: values[at if name in self._per_end else slice(row, row + 1)]
                for name, values in columns.items()
            }
            cut["final_row"] = np.zeros_like(cut["final_row"])
            self._open[sub_env].append(cut)
            if row in ends:
                self._end(sub_env, int(columns["episode"][row]))

    def _end(self, sub_env: int, episode: int) -> None:
        rows = self._open.pop(sub_env)
        if (sub_env, episode) in self._envs.thrown_away:
            self._envs.thrown_away.remove((sub_env, episode))
            self.thrown_away += 1
        else:
            self._ended += rows
