"""What the processes log: for a person or as JSON, and never a value of a message."""
