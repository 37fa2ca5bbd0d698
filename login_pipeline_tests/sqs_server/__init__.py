"""An SQS-speaking server that stays as fast at 500,000 messages as at 1,000, for measuring clients.

It does what Amazon SQS documents of standard queues, in memory only, and is held to the tests of the protocol that the
other servers are held to (test_protocol.py). It does not check signatures, does not enforce
the retention period, and knows neither FIFO queues nor tags nor message move tasks.
"""
