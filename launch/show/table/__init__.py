"""`residual-rl runs`: every run and trial under a folder, a row each."""
