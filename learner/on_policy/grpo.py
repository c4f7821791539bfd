"""GRPO: episodes measured against others from the same start (Shao et al. 2024, arXiv 2402.03300)."""

import copy
from typing import Any

import torch
from torch import Tensor

from config.on_policy import GrpoConfig
from learner.algorithms.contract import Figures
from learner.on_policy.algorithm import OnPolicy, Prepared, Rest
from learner.on_policy.estimates import group_advantages
from learner.on_policy.losses import reference_loss
from learner.on_policy.rows import Rows, chosen, followed, in_order


class GRPO(OnPolicy):
    """See `OnPolicy`. All decisions of an episode are worth what the episode is."""

    algo: GrpoConfig

    def __init__(
        self, algo: GrpoConfig, observation_dim: int, action_dim: int, *, seed: int, device: str
    ) -> None:
        super().__init__(algo, observation_dim, action_dim, seed=seed, device=device)
        self.reference = copy.deepcopy(self.actor).requires_grad_(False)
        self.groups = self.without_spread = 0
        self.start_optimizer()

    @torch.no_grad()
    def prepare(self, rows: Rows) -> Prepared:
        """What whole groups of whole episodes are worth. Groups without spread are left out."""
        rows = in_order(rows)
        last = ~followed(rows)
        episode = last.cumsum(0) - last.long()  # counted up, the number of each row's
        group = _groups(chosen(rows, last), self.algo.group_size)
        used = _in_whole_groups(_is_whole(rows, last), group, self.algo.group_size)
        found = group_advantages(_returns(rows, episode, self.algo.gamma)[used], group[used])
        self.groups += found.groups
        self.without_spread += found.without_spread
        self.figures = {
            "groups": float(self.groups),
            "groups_without_spread": float(self.without_spread),
            "spread_share": 1 - found.without_spread / max(1, found.groups),
        }
        advantage, counts = torch.zeros(len(used)), torch.zeros(len(used), dtype=torch.bool)
        advantage[used], counts[used] = found.advantage, found.counts
        learned = counts[episode]
        content = self._seen(chosen(rows, learned))
        if self.algo.reference_weight:
            of_reference = self.reference.log_prob(
                *(content[name] for name in ("observation", "base_plan", "residual"))
            )
            content["reference_log_prob"] = of_reference
        content["advantage"] = advantage[episode][learned].to(self.device)
        return Prepared(content, chosen(rows, ~used[episode]))

    def other_losses(self, batch: dict[str, Tensor], log_prob: Tensor) -> Rest:
        weight = self.algo.reference_weight
        if not weight:
            return Rest(log_prob.new_zeros(()), 0.0, {}, {})
        apart = reference_loss(log_prob, batch["reference_log_prob"])
        figures: Figures = {"kl_reference": lambda: apart.loss}
        return Rest(weight * apart.loss, weight * apart.gradient, {}, figures)

    def state(self) -> dict[str, Any]:
        counts = {"groups": self.groups, "without_spread": self.without_spread}
        return super().state() | counts | {"reference": self.reference.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.reference.load_state_dict(state["reference"])
        self.groups, self.without_spread = state["groups"], state["without_spread"]


def _is_whole(rows: Rows, last: Tensor) -> Tensor:
    """(M,) bool: an episode is here from its first decision to its end."""
    first = last.roll(1)
    return (rows["decision"][first] == 0) & rows["ended"][last]


def _groups(rows: Rows, size: int) -> Tensor:
    """(M,): the number of each episode's group, for one row of each."""
    keys = torch.stack([rows["session"], rows["sub_env"] // size, rows["episode"]], 1)
    return keys.unique(dim=0, return_inverse=True)[1]


def _in_whole_groups(whole: Tensor, group: Tensor, size: int) -> Tensor:
    """(M,) bool: an episode is `whole`, and so are all of its group."""
    members = torch.zeros_like(group).index_add(0, group, whole.long())
    return whole & (members[group] == size)


def _returns(rows: Rows, episode: Tensor, gamma: float) -> Tensor:
    """(M,): discounted sums of the rewards of episodes."""
    discounted = rows["reward"].double() * gamma ** rows["decision"].double()
    return torch.zeros(int(episode[-1]) + 1, dtype=torch.float64).index_add(0, episode, discounted).float()
