"""The replay on disk: a LeRobot dataset of whole episodes that grows while others read it."""
