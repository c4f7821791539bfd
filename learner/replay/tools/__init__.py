"""What a person does with a dataset: verify, repair, export, merge, look at."""
