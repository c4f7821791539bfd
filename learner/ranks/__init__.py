"""The processes of one learner (ranks): all update, rank 0 alone receives, keeps and publishes."""
