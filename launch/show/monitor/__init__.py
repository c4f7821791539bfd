"""`residual-rl monitor`: what a run is doing, from the files in its folder alone."""
