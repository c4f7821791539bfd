"""A task, a base and an algorithm in a package of their own: nothing of residual-rl is changed."""
