"""A policy's actions beside recorded ones, without a simulator."""
