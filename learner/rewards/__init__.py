"""Training of success classifiers: labelled frames in, a classifier and what is known of its errors out."""
