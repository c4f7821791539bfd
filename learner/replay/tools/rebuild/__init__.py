"""A dataset that another program wrote: what can be computed from its frames, computed again."""
