"""Who may act instead of the policy, and what becomes of the experience."""
