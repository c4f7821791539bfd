"""A run on a Ray cluster: each process on a node that has what it needs, and elsewhere when it is lost."""
