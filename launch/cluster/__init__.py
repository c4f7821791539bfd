"""Runs on a cluster: handed to Slurm, watched there, and what they do inside a job."""
