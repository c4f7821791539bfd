"""Algorithms that train the base itself: sft and rejection_sampling."""
