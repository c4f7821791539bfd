"""A rented pod: its disk is wiped, and one volume stays. What the scripts beside this need in Python."""
