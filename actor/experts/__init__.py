"""Scripted experts: the action of a frame, from the state that the simulator tells."""
