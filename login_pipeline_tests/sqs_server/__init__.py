"""An SQS-speaking server that stays as fast at 500,000 messages as at 1,000, for measuring clients.

It does what the pipeline and the benchmarks ask of a standard queue, in memory only, and as Amazon SQS documents it. It
checks no signature and no bounds, enforces no limit, and keeps messages until they are deleted.
"""
