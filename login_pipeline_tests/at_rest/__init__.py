"""Personal data is at rest nowhere but in SQS: what is sent, every place where it could be left, and the search."""
