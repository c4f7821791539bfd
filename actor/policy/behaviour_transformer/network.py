"""The network of a behaviour transformer (Shafiullah et al. 2022, arXiv 2206.11251).

A causal transformer over the last observations, and heads that choose one of the actions' cluster centres and
an offset from it.

Names of modules are those of published checkpoints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from actor.policy.behaviour_transformer.dropout import Dropout


@dataclass(frozen=True)
class TransformerSpec:
    """What `args.json` says of the network, under its names, and the sizes that its weights show."""

    env_id: str
    control_mode: str
    context_window: int
    n_clusters: int
    n_layers: int
    n_heads: int
    n_embedding: int
    obs_dim: int
    act_dim: int
    token_dim: int

    @property
    def dropout_numbers(self) -> int:
        """How many numbers of a history's pass may be dropped."""
        hidden = self.context_window * self.n_embedding
        attention = self.n_heads * self.context_window**2
        return hidden + self.n_layers * (attention + 2 * hidden)


class Attention(nn.Module):
    """Each token attends to those up to itself."""

    bias: Tensor
    """(1, 1, T, T): 1 where a token (third) sees another (fourth)."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self._heads = spec.n_heads
        self.c_attn = nn.Linear(spec.n_embedding, 3 * spec.n_embedding)
        self.c_proj = nn.Linear(spec.n_embedding, spec.n_embedding)
        window = spec.context_window
        self.register_buffer("bias", torch.ones(window, window).tril().view(1, 1, window, window))

    def forward(self, tokens: Tensor, dropout: Dropout) -> Tensor:
        """(B, T, C) for tokens (B, T, C)."""
        rows, frames, width = tokens.shape
        by_head = self.c_attn(tokens).view(rows, frames, 3, self._heads, width // self._heads)
        query, key, value = by_head.permute(2, 0, 3, 1, 4)  # (B, heads, T, C / heads) each
        scores = query @ key.mT * query.shape[-1] ** -0.5
        weights = scores.masked_fill(self.bias == 0, -torch.inf).softmax(dim=-1)
        seen = dropout(weights) @ value
        return dropout(self.c_proj(seen.transpose(1, 2).reshape(rows, frames, width)))


class Perceptron(nn.Module):
    """Two layers, applied to each token."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.c_fc = nn.Linear(spec.n_embedding, 4 * spec.n_embedding)
        self.c_proj = nn.Linear(4 * spec.n_embedding, spec.n_embedding)

    def forward(self, tokens: Tensor, dropout: Dropout) -> Tensor:
        """(B, T, C) for tokens (B, T, C)."""
        return dropout(self.c_proj(gelu(self.c_fc(tokens), approximate="tanh")))


class Block(nn.Module):
    """Attention and perceptron, each added to what it gets."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(spec.n_embedding), Attention(spec)
        self.ln_2, self.mlp = nn.LayerNorm(spec.n_embedding), Perceptron(spec)

    def forward(self, tokens: Tensor, dropout: Dropout) -> Tensor:
        """(B, T, C) for tokens (B, T, C)."""
        tokens = tokens + self.attn(self.ln_1(tokens), dropout)
        return tokens + self.mlp(self.ln_2(tokens), dropout)


class Blocks(nn.Module):
    """Observations to embedded tokens, and all blocks."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.wte = nn.Linear(spec.obs_dim, spec.n_embedding)
        self.wpe = nn.Embedding(spec.context_window, spec.n_embedding)
        self.h = nn.ModuleList([Block(spec) for _ in range(spec.n_layers)])
        self.ln_f = nn.LayerNorm(spec.n_embedding)

    def forward(self, history: Tensor, dropout: Dropout) -> Tensor:
        """(B, T, C) for histories (B, T, obs_dim)."""
        tokens = dropout(self.wte(history) + self.wpe.weight)
        for block in self.h:
            tokens = block(tokens, dropout)
        return self.ln_f(tokens)


class Transformer(nn.Module):
    """Observations to output tokens."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.transformer = Blocks(spec)
        self.lm_head = nn.Linear(spec.n_embedding, spec.token_dim, bias=False)

    def forward(self, history: Tensor, dropout: Dropout) -> Tensor:
        """The newest observation's output token (B, token_dim) for histories (B, T, obs_dim)."""
        return self.lm_head(self.transformer(history, dropout)[:, -1])


class TransformerWithHeads(nn.Module):
    """Transformer, cluster centres and the layer that chooses among them."""

    _cluster_centers: Tensor
    """(n_clusters, act_dim)"""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self._gpt_model = Transformer(spec)
        outputs = spec.n_clusters * (1 + spec.act_dim)
        self._map_to_cbet_preds = nn.Sequential(nn.Linear(spec.token_dim, outputs))
        self.register_buffer("_cluster_centers", torch.zeros(spec.n_clusters, spec.act_dim))

    def token(self, history: Tensor, dropout: Dropout) -> Tensor:
        return self._gpt_model(history, dropout)

    def action(self, token: Tensor) -> Tensor:
        clusters, act_dim = self._cluster_centers.shape
        logits, offsets = self._map_to_cbet_preds(token).split([clusters, clusters * act_dim], dim=-1)
        chosen = logits.argmax(dim=-1)
        rows = torch.arange(len(token), device=token.device)
        return self._cluster_centers[chosen] + offsets.view(-1, clusters, act_dim)[rows, chosen]


class TransformerAgent(nn.Module):
    """What is saved."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.net = TransformerWithHeads(spec)

    def token(self, history: Tensor, dropout: Dropout) -> Tensor:
        """What the heads read, (B, token_dim), for histories (B, context_window, obs_dim), oldest first."""
        return self.net.token(history, dropout)

    def action(self, token: Tensor) -> Tensor:
        """The likeliest centre and its offset, (B, act_dim)."""
        return self.net.action(token)
