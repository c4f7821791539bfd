"""Whether an observation looks like success: what can end and reward episodes in place of a simulator."""
