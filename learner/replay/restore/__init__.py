"""The replay in memory, rebuilt from the dataset."""
