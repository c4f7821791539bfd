"""What LeRobot's dataset format v3.0 says: places, columns, tables, statistics, images. Decides nothing."""
