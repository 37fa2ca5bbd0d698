# The image as it runs, but `login-pipeline FAILING` fails.
FROM login-pipeline:local
USER root
ARG FAILING
RUN mv /opt/venv/bin/login-pipeline /opt/venv/bin/login-pipeline-that-works \
 && printf '#!/bin/sh\ntest "$1" = %s || exec login-pipeline-that-works "$@"\n' "$FAILING" >/opt/venv/bin/login-pipeline \
 && echo 'test "$1" = doctor && echo "WRONG  masking  the test has it so"; exit 1' >>/opt/venv/bin/login-pipeline \
 && chmod a+rx /opt/venv/bin/login-pipeline
USER 10001:10001
