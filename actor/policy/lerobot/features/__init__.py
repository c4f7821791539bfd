"""What the policies of each class make of what they see: a file a class."""
