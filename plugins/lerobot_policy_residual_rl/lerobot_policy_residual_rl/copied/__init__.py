"""Copies of files of residual-rl, so that this package needs LeRobot alone; its tests compare them."""
