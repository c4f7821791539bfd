"""A base made better in rounds, until it needs no residual (PLD, arXiv 2511.00091, is the idea)."""
