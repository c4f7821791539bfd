"""What a run gives to other programs, and what comes from elsewhere."""
