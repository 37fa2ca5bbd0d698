"""The queues: received from, deleted from, released to and sent to."""
