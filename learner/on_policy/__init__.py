"""Algorithms that learn from what their newest policy did: ppo and grpo."""
