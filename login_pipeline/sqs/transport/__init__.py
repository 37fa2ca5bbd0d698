"""How a call gets to SQS and its response back: by boto3, or by libcurl on the pattern of one of boto3."""
