"""PPO: a policy, and a value function that says what to expect (Schulman et al. 2017, arXiv 1707.06347)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from config.on_policy import PpoConfig
from learner.algorithms.contract import Figures
from learner.on_policy.algorithm import OnPolicy, Prepared, Rest
from learner.on_policy.estimates import advantages, normalised
from learner.on_policy.losses import value_loss
from learner.on_policy.rows import Rows, chosen, followed, in_order
from learner.on_policy.scale import RunningScale
from learner.on_policy.value import ValueNetwork


class PPO(OnPolicy):
    """See `OnPolicy`. Values are in deviations of the returns so far, so that one learning rate fits all
    rewards."""

    algo: PpoConfig

    def __init__(
        self, algo: PpoConfig, observation_dim: int, action_dim: int, *, seed: int, device: str
    ) -> None:
        super().__init__(algo, observation_dim, action_dim, seed=seed, device=device)
        self.value = ValueNetwork(algo.hidden, self.actor.sight.dim).to(self.device)
        self._returns = RunningScale()
        self.start_optimizer(self.value)

    @torch.no_grad()
    def prepare(self, rows: Rows) -> Prepared:
        """Advantages and returns. A decision is of use once it is known where it led: to the next decision's
        observation, or to the last one of its episode."""
        rows = in_order(rows)
        goes_on, ended = followed(rows), rows["ended"]
        after = rows["observation"].roll(-1, 0)
        after = torch.where(ended[:, None], rows["final_observation"], after)
        unit = self._returns.deviation.item()
        value, next_value = (self._values(each) * unit for each in (rows["observation"], after))
        discount = self.algo.gamma * ~rows["terminated"]
        gain = advantages(rows["reward"], discount, value, next_value, goes_on, self.algo.trace)
        known = goes_on | ended
        wanted = (gain + value)[known]
        content = self._seen(chosen(rows, known)) | {
            "advantage": normalised(gain[known]).to(self.device),
            "value": (value[known] / unit).to(self.device),
            "return": wanted.to(self.device),
            "wanted": (wanted / unit).to(self.device),
        }
        unexplained = gain[known].square().mean() / (wanted - wanted.mean()).square().mean().clamp_min(1e-12)
        self.figures = {"value_explains": 1 - unexplained.item(), "return_mean": wanted.mean().item()}
        return Prepared(content, chosen(rows, ~known))

    def other_losses(self, batch: dict[str, Tensor], log_prob: Tensor) -> Rest:
        value, weight = self.value(batch["observation"]), self.algo.value_weight
        found = value_loss(value, batch["value"], batch["wanted"], self.algo.value_clip)
        figures: Figures = {"loss/value": lambda: found.loss}
        return Rest(weight * found.loss, 0.0, {value: weight * found.gradient}, figures)

    def finish(self, content: Mapping[str, Tensor]) -> None:
        super().finish(content)
        self._returns.add(content["return"])

    def networks(self) -> dict[str, Any]:
        return super().networks() | {"value": self.value.state_dict()}

    def state(self) -> dict[str, Any]:
        return super().state() | {"returns": self._returns.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._returns.load_state(state["returns"])

    def _values(self, observation: Tensor) -> Tensor:
        return self.value(self.actor.sight(observation.to(self.device))).cpu()
