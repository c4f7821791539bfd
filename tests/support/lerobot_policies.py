"""Small LeRobot policies, saved by LeRobot itself, and a policy plugin package."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

from learner.replay.prior.demonstration import Demonstration

STATE, ENVIRONMENT, ACTION = "observation.state", "observation.environment_state", "action"
SMALL = {
    "act": dict(
        chunk_size=8, n_action_steps=8, dim_model=32, n_heads=2, dim_feedforward=64, n_encoder_layers=1,
        n_vae_encoder_layers=1, latent_dim=8,
    ),
    "diffusion": dict(
        n_obs_steps=2, horizon=8, n_action_steps=4, down_dims=(16, 32), n_groups=4,
        diffusion_step_embed_dim=16, noise_scheduler_type="DDIM", num_inference_steps=4,
    ),
    "tdmpc": dict(
        n_action_repeats=1, n_action_steps=4, horizon=5, latent_dim=8, mlp_dim=16,
        state_encoder_hidden_dim=16, cem_iterations=2, n_gaussian_samples=16, n_pi_samples=4, n_elites=4,
        q_ensemble_size=2,
    ),
    "gaussian_actor": dict(latent_dim=8, state_encoder_hidden_dim=16),
    "vqbet": dict(
        n_obs_steps=3, action_chunk_size=4, crop_shape=None, vqvae_n_embed=4, vqvae_embedding_dim=16,
        vqvae_enc_hidden_dim=16, gpt_input_dim=32, gpt_output_dim=32, gpt_hidden_dim=32, gpt_n_layer=1,
        gpt_n_head=2,
    ),
}  # fmt: skip


def make_policy(kind: str, episodes: list[Demonstration], state: int) -> tuple[Any, Any, Any]:
    """A policy of random weights over `state` numbers of state and the rest as environment state, with
    pre- and post-processors that know the demonstrations' statistics."""
    observation, action = episodes[0].observations.shape[1], episodes[0].actions.shape[1]
    config = make_policy_config(
        kind,
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (state,)),
            ENVIRONMENT: PolicyFeature(FeatureType.ENV, (observation - state,)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (action,))},
        device="cpu",
        push_to_hub=False,
        **SMALL[kind],
    )
    config.validate_features()
    torch.manual_seed(0)
    policy = get_policy_class(kind)(config)
    before, after = make_pre_post_processors(config, dataset_stats=statistics(episodes, state))
    return policy, before, after


def statistics(episodes: list[Demonstration], state: int) -> dict[str, dict[str, torch.Tensor]]:
    """What LeRobot's normalisers want to know of each feature."""
    observation = np.concatenate([episode.observations for episode in episodes])
    columns = {
        STATE: observation[:, :state],
        ENVIRONMENT: observation[:, state:],
        ACTION: np.concatenate([episode.actions for episode in episodes]),
    }
    return {
        name: {
            "mean": torch.from_numpy(values.mean(0)),
            "std": torch.from_numpy(values.std(0).clip(1e-2)),
            "min": torch.from_numpy(values.min(0)),
            "max": torch.from_numpy(np.maximum(values.max(0), values.min(0) + 1e-2)),
        }
        for name, values in columns.items()
    }


def train_act(policy: Any, before: Any, episodes: list[Demonstration], state: int, steps: int) -> list[float]:
    """A few steps of LeRobot's own loss; returns the losses."""
    chunk = policy.config.chunk_size
    starts = [(e, t) for e in episodes for t in range(len(e.actions) - chunk)]
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    rng, losses = np.random.default_rng(0), []
    policy.train()
    for _ in range(steps):
        rows = [starts[i] for i in rng.integers(len(starts), size=16)]
        observation = torch.from_numpy(np.stack([e.observations[t] for e, t in rows]))
        batch = before(
            {
                STATE: observation[:, :state],
                ENVIRONMENT: observation[:, state:],
                ACTION: torch.from_numpy(np.stack([e.actions[t : t + chunk] for e, t in rows])),
            }
        )
        loss, _ = policy.forward(batch | {"action_is_pad": torch.zeros(len(rows), chunk, dtype=torch.bool)})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    policy.eval()
    return losses


def save(folder: Path, policy: Any, before: Any, after: Any) -> Path:
    """Everything that LeRobot saves of a trained policy."""
    for part in (policy, before, after):
        part.save_pretrained(folder)
    return folder


PLUGIN = {
    "__init__.py": "from . import configuration_tenth, modeling_tenth, processor_tenth\n",
    "configuration_tenth.py": """
from dataclasses import dataclass, field
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode

@PreTrainedConfig.register_subclass("tenth")
@dataclass
class TenthConfig(PreTrainedConfig):
    normalization_mapping: dict = field(default_factory=lambda: {
        "STATE": NormalizationMode.IDENTITY, "ACTION": NormalizationMode.IDENTITY})
    chunk_size: int = 6
    def validate_features(self): pass
    def get_optimizer_preset(self): raise NotImplementedError
    def get_scheduler_preset(self): return None
    observation_delta_indices = None
    action_delta_indices = None
    reward_delta_indices = None
""",
    "modeling_tenth.py": '''
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from .configuration_tenth import TenthConfig

class TenthPolicy(PreTrainedPolicy):
    """Every action is `share` of the first state numbers."""
    config_class, name = TenthConfig, "tenth"
    def __init__(self, config, **kwargs):
        super().__init__(config)
        self.share = torch.nn.Parameter(torch.tensor(0.1))
    def get_optim_params(self): return self.parameters()
    def reset(self): pass
    def forward(self, batch): raise NotImplementedError
    def select_action(self, batch): return self.predict_action_chunk(batch)[:, 0]
    def predict_action_chunk(self, batch):
        action = self.share * batch["observation.state"][:, :self.config.output_features["action"].shape[0]]
        return action[:, None].repeat(1, self.config.chunk_size, 1)
''',
    "processor_tenth.py": """
from lerobot.policies.act.processor_act import make_act_pre_post_processors

def make_tenth_pre_post_processors(config, dataset_stats=None):
    return make_act_pre_post_processors(config, dataset_stats)
""",
}


def install_plugin(folder: Path) -> None:
    """A package lerobot_policy_tenth in `folder`, as pip would leave it there."""
    package = folder / "lerobot_policy_tenth"
    package.mkdir()
    for name, text in PLUGIN.items():
        (package / name).write_text(text)
    about = folder / "lerobot_policy_tenth-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lerobot_policy_tenth\nVersion: 1.0\n")
