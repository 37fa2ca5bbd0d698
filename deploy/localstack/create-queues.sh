#!/usr/bin/env bash
# LocalStack runs this when its SQS answers. CreateQueue is idempotent, so a restart is harmless.
set -euo pipefail

# logins comes last: the health check waits for it.
for queue in logins-dead-letter logins; do
  awslocal sqs create-queue --queue-name "$queue"
done
