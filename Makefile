# Everything runs in the project's own virtual environment; nothing outside the checkout is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo dev test cluster-test failover-test chaos fuzz bench simulate test-localstack test-pgbouncer lint lint-templates reference format lock audit sbom wheel release-notes clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## set up the virtual environment with the locked dependencies

$(INSTALLED): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "login-pipeline needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up $(VENV) with the locked dependencies (about a minute, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED) ## drain 100 sample messages through real services, and show what happened
	@$(BIN)/login-pipeline demo

dev: $(INSTALLED) ## the same services under the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/login-pipeline dev

test: $(INSTALLED) ## run the tests against a real PostgreSQL and a real SQS-speaking server
	@$(BIN)/python -m pytest -n 4 --dist worksteal

cluster-test: $(INSTALLED) ## drain through the containers and lose one in the middle of each further drain; needs Docker (an hour)
	@$(BIN)/python -m login_pipeline_tests.cluster

failover-test: $(INSTALLED) ## kill the primary of a cluster at each step of a load, 50 times; needs root and pg_auto_failover
	@$(BIN)/python -m login_pipeline_tests.failover

chaos: $(INSTALLED) ## kill over 1,000 runs, break what they lean on, and account for every message (half an hour)
	@$(BIN)/python -m login_pipeline_tests.chaos

fuzz: $(INSTALLED) ## run 1,000,000 hostile bodies through the parser and the masks (two minutes)
	@$(BIN)/python -m login_pipeline_tests.fuzz

bench: $(INSTALLED) ## measure the pipeline against its targets and a plain script (ten minutes)
	@$(BIN)/python -m benchmarks $(BENCH)

simulate: $(INSTALLED) ## simulate a day of auto-scaling, and draw docs/simulated-day.svg
	@$(BIN)/python -m benchmarks.autoscaling

test-localstack: $(INSTALLED) ## the same tests against LocalStack 4.4.0 and the system's PostgreSQL
	@$(BIN)/python deploy/localstack/run_with_localstack.py $(BIN)/python -m pytest

test-pgbouncer: $(INSTALLED) ## the same tests through PgBouncer in transaction mode; needs pgbouncer
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null \
	  || { echo "make test-pgbouncer needs PgBouncer: apt-get install pgbouncer"; exit 1; }
	@LOGIN_TEST_PGBOUNCER=1 $(BIN)/python -m pytest -n 4 --dist worksteal

lint: $(INSTALLED) ## ruff (lint and format), mypy, and the layers of the packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

lint-templates: .venv-templates/.installed ## hold the CloudFormation templates against AWS's schemas and its advice
	@.venv-templates/bin/cfn-lint deploy/aws/*.yaml

reference: $(INSTALLED) ## write docs/reference.md from the code
	@$(BIN)/python -m login_pipeline_tests.reference

format: $(INSTALLED) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-strip-extras --custom-compile-command "make lock" --upgrade

lock: $(INSTALLED) ## resolve the dependencies anew, for every platform and Python from 3.11 on
	@$(UV_COMPILE) --all-extras pyproject.toml requirements/build.in -o requirements/dev.lock
	@$(UV_COMPILE) --extra ui --extra cluster --extra metrics pyproject.toml requirements/build.in -o requirements/production.lock
	@$(UV_COMPILE) requirements/audit.in -o requirements/audit.lock
	@$(UV_COMPILE) requirements/templates.in -o requirements/templates.lock
	@$(UV_COMPILE) --exclude-newer 2025-05-20 deploy/localstack/requirements.in -o deploy/localstack/requirements.lock

AUDIT := .venv-audit

# A tool's virtual environment of its own, so that what it brings is none of our dependencies.
.venv-%/.installed: requirements/%.lock
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

audit: $(AUDIT)/.installed ## ask PyPI for known vulnerabilities of every locked dependency
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/production.lock
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/dev.lock
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/audit.lock
	@$(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/templates.lock

sbom: $(AUDIT)/.installed ## write what the image is made of to sbom.cdx.json, in CycloneDX
	@$(AUDIT)/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file sbom.cdx.json requirements/production.lock

wheel: $(INSTALLED) ## build the wheel into dist/
	@rm -rf build dist
	@$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

release-notes: ## print what CHANGELOG.md says of TAG, once tag, version and heading agree
	@$(PYTHON) -m login_pipeline_tests.release $(TAG)

clean: ## remove the virtual environments and the local services' data
	@test ! -L .login-pipeline/postgresql || rm -rf "$$(readlink .login-pipeline/postgresql)"
	rm -rf $(VENV) .venv-localstack .venv-audit .venv-templates .login-pipeline build dist sbom.cdx.json
