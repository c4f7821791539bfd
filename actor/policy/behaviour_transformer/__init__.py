"""A behaviour transformer as a base, from the checkpoints of Policy Decorator."""
