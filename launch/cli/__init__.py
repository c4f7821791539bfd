"""The command line: `residual-rl <verb>`. Each verb reads its words and calls what does the work."""
