"""The embedded services for demo, dev and tests: a real PostgreSQL and an SQS-speaking server on loopback.

Production uses none of this; it comes with the extra `local`.
"""
