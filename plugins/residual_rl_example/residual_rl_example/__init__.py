"""A task of residual-rl in a package of its own: nothing of residual-rl is changed, or imported."""
