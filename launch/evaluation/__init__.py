"""Success over fixed seeds: what is evaluated, played in several processes, told, and kept."""
