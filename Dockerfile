# Two images: that of every process of the pipeline, the last one here, and the PostgreSQL of docker-compose.yml.
# The tags name no patch release, so that a build with --pull has the current one.

FROM postgres:15-bookworm AS postgres
# What runs once, in the order of the names, when the volume is empty.
COPY deploy/postgres/roles.sql /docker-entrypoint-initdb.d/1-roles.sql
COPY deploy/postgres/create-logins.sql /docker-entrypoint-initdb.d/2-create-logins.sql
# COPY keeps the modes of the checkout, which may be readable by its owner only.
RUN chmod a+r /docker-entrypoint-initdb.d/*.sql


FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build

# Before the sources, so that a change of these does not install the dependencies anew.
COPY requirements/production.lock requirements/
RUN pip install --quiet --require-hashes --only-binary :all: -r requirements/production.lock

COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY login_pipeline login_pipeline
# The build backend is in the lock too: nothing without a hash is downloaded.
RUN pip install --quiet --no-deps --no-build-isolation .

COPY deploy/dagster.yaml workspace.yaml /opt/dagster/
RUN chmod -R a+rX /opt/dagster /opt/venv


FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="login-pipeline" \
      org.opencontainers.image.description="Moves login events from Amazon SQS into PostgreSQL, masked" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number of its own, for hosts that require a non-root one; no shell and no home to write to.
# A new volume at /backups takes over its owner.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pipeline \
 && install --directory --owner pipeline --group pipeline --mode 700 /backups

# What sslrootcert=system in a database URL verifies against: the base image brings it, and must go on doing so.
RUN test -s /etc/ssl/certs/ca-certificates.crt

# All of this belongs to root: the pipeline cannot change its own code or configuration.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/dagster /opt/dagster

# Dagster stores an exception's message and its locals: in a pipeline of personal data they must be redacted.
# LOGIN_MAX_CONCURRENT_RUNS is what dagster.yaml reads without a default.
# Its daemon and web server do not pass their --log-format on to the code server that each of them starts.
ENV PATH=/opt/venv/bin:$PATH \
    DAGSTER_HOME=/opt/dagster \
    DAGSTER_REDACT_USER_CODE_ERRORS=1 \
    LOGIN_LOG_FORMAT=json \
    LOGIN_MAX_CONCURRENT_RUNS=4 \
    DAGSTER_CLI_API_GRPC_LOG_FORMAT=json \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

WORKDIR /opt/dagster
USER 10001:10001
EXPOSE 3000
# No ENTRYPOINT, so that any other process is named plainly: docker run IMAGE dagster-daemon run
CMD ["dagster-webserver", "--workspace", "workspace.yaml", "--host", "0.0.0.0", "--port", "3000", "--log-format", "json"]
