"""Moves login events from an Amazon SQS queue into PostgreSQL with their personal data masked."""
