"""A task, a base and an algorithm for residual-rl in a package of its own: nothing of residual-rl is changed."""
