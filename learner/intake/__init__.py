"""The learner's receiving side: judges what arrives and queues it until it is durable and drained."""
