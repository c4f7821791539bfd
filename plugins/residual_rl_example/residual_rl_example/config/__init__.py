"""Files of configuration, in folders as in config/ of residual-rl."""
