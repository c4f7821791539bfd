"""Trains the base that a run plays: one contract, a tuner for each kind of base."""
