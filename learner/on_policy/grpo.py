"""GRPO: episodes measured against others from the same start (Shao et al. 2024, arXiv 2402.03300)."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from config.on_policy import GrpoConfig
from learner.algorithms.contract import Figures
from learner.on_policy.algorithm import OnPolicy, Prepared
from learner.on_policy.estimates import group_advantages
from learner.on_policy.losses import divergence
from learner.on_policy.rows import Rows, chosen, followed, in_order


class GRPO(OnPolicy):
    """See `OnPolicy`. All decisions of an episode are worth what the episode is."""

    algo: GrpoConfig

    def __init__(
        self, algo: GrpoConfig, observation_dim: int, action_dim: int, *, seed: int, device: str
    ) -> None:
        super().__init__(algo, observation_dim, action_dim, seed=seed, device=device)
        self.reference = copy.deepcopy(self.actor).requires_grad_(False)
        self.batches = self.groups = self.without_spread = 0
        self.start_optimizer()

    @torch.no_grad()
    def prepare(self, rows: Rows) -> Prepared:
        """What whole groups of whole episodes are worth. Groups without spread are left out."""
        rows = in_order(rows)
        episode = _episodes(rows)
        whole = _in_whole_groups(rows, episode, self.algo.group_size)
        used, episode = chosen(rows, whole), episode[whole].unique_consecutive(return_inverse=True)[1]
        found = group_advantages(
            _returns(used, episode, self.algo.gamma), _groups(used, self.algo.group_size)
        )
        counts = found.counts[episode]
        self.groups += found.groups
        self.without_spread += found.without_spread
        self.figures = {
            "groups": float(self.groups),
            "groups_without_spread": float(self.without_spread),
            "spread_share": 1 - found.without_spread / max(1, found.groups),
        }
        content = self._seen(chosen(used, counts))
        if self.algo.reference_weight:
            of_reference = self.reference.log_prob(
                *(content[name] for name in ("observation", "base_plan", "residual"))
            )
            content["reference_log_prob"] = of_reference
        content["advantage"] = found.advantage[episode][counts].to(self.device)
        return Prepared(content, chosen(rows, ~whole))

    def other_losses(self, batch: dict[str, Tensor], log_prob: Tensor) -> tuple[Tensor, Figures]:
        if not self.algo.reference_weight:
            return log_prob.new_zeros(()), {}
        apart = divergence(log_prob, batch["reference_log_prob"]).mean()
        return self.algo.reference_weight * apart, {"kl_reference": lambda: apart.detach()}

    def finish(self, content: Mapping[str, Tensor]) -> None:
        if len(content["observation"]):
            super().finish(content)
        self.batches += 1
        every = self.algo.reference_batches
        if every is not None and self.batches % every == 0:
            self.reference.load_state_dict(self.actor.state_dict())

    def state(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("batches", "groups", "without_spread")}
        return super().state() | counts | {"reference": self.reference.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.reference.load_state_dict(state["reference"])
        self.batches, self.groups = state["batches"], state["groups"]
        self.without_spread = state["without_spread"]


def _episodes(rows: Rows) -> Tensor:
    """(B,): the number of each row's episode, counted up. For rows that are `in_order`."""
    begins = torch.cat([torch.ones(1, dtype=torch.bool), ~followed(rows)[:-1]])
    return begins.cumsum(0) - 1


def _in_whole_groups(rows: Rows, episode: Tensor, size: int) -> Tensor:
    """(B,) bool: the row's episode is whole, and so are all of its group."""
    last = torch.cat([episode[1:] != episode[:-1], torch.ones(1, dtype=torch.bool)])
    first = torch.cat([torch.ones(1, dtype=torch.bool), episode[1:] != episode[:-1]])
    whole = (rows["decision"][first] == 0) & rows["ended"][last]
    keys = torch.stack([rows["session"], rows["sub_env"] // size, rows["episode"]], 1)[last]
    _, group = keys.unique(dim=0, return_inverse=True)
    members = torch.zeros(int(group.max()) + 1, dtype=torch.int64).index_add(0, group, whole.long())
    return (members[group] == size)[episode]


def _groups(rows: Rows, size: int) -> Tensor:
    """(M,): the group of each whole episode."""
    keys = torch.stack([rows["session"], rows["sub_env"] // size, rows["episode"]], 1)[rows["ended"]]
    return keys.unique(dim=0, return_inverse=True)[1] if len(keys) else torch.zeros(0, dtype=torch.int64)


def _returns(rows: Rows, episode: Tensor, gamma: float) -> Tensor:
    """(M,): discounted sums of the rewards of whole episodes."""
    discounted = rows["reward"].double() * gamma ** rows["decision"].double()
    count = int(episode.max()) + 1 if len(episode) else 0
    return torch.zeros(count, dtype=torch.float64).index_add(0, episode, discounted).float()
