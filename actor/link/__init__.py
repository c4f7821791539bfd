"""The actor's side of the wire: sends experience, sends again what is not durable, and receives weights."""
