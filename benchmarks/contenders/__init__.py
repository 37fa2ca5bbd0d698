"""What is measured, each in a process of its own, on the queue and the database that its environment names."""
