"""What makes an ack durable: received messages on disk until their episodes are in the dataset."""
