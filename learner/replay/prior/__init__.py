"""Recorded episodes, from wherever, as experience for the learner."""
