"""Films of single seeds: base and residual side by side, played again with a camera."""
