# Raak: `make` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.tools: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed ## the virtual environment, from the hash-pinned lock

.PHONY: demo
demo: $(VENV)/.installed ## everything, on 23,570 real customers (ARGS=--exit ends by itself)
	@$(BIN)/raak demo $(ARGS)

.PHONY: up
up: $(VENV)/.installed ## everything, without the demo's customers (ARGS="--port 9000 --data elsewhere")
	@$(BIN)/raak up $(ARGS)

.PHONY: shop
shop: $(VENV)/.installed ## the record shop's page, before a Raak that runs (ARGS="--port 8011 --data elsewhere")
	@$(BIN)/python -m examples.shop $(ARGS)

.PHONY: test
test: lint ## every check and every test, and the 15 slowest
	$(BIN)/pytest -n 3 --no-loadscope-reorder --benchmark-disable --durations=15 $(ARGS)

.PHONY: test-unit
test-unit: $(VENV)/.tools ## the unit tests alone, with few examples of each property: under a minute
	$(BIN)/pytest tests/unit -n 2 --no-loadscope-reorder --most-examples 20 -q $(ARGS)

.PHONY: lint
lint: $(VENV)/.tools ## format, lint, types, layers, schema
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	$(BIN)/raak schema --check

.PHONY: bench
bench: $(VENV)/.tools ## the figures of every issue, printed
	$(BIN)/pytest tests/benchmarks -m benchmark -q -s $(ARGS)

.PHONY: generate
generate: $(VENV)/.installed ## write what is made from the code: SDL, pages of roles, scopes, settings and errors, NATS's users
	$(BIN)/python -m infra.generate

.PHONY: client
client: ## the TypeScript client and the shop's page: generate, check, test, bundle (needs Node)
	cd clients/typescript && npm install --no-audit --no-fund && npm run generate && npm run check && npm test && npm run build
	cd examples/shop/source && npm install --no-audit --no-fund && npm run check && npm run build

.PHONY: lock
lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra embedded pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev -c requirements.lock -o requirements-dev.lock

.PHONY: compose-up
compose-up: $(VENV)/.installed ## the Compose stack, with secrets made at first use in .env
	$(BIN)/python -m infra.compose_env
	docker compose up -d --build --wait

.PHONY: compose-pin
compose-pin: $(VENV)/.installed ## pin the images of the Compose stack in .env to their digests of today
	$(BIN)/python -m infra.compose_env --pin

.PHONY: compose-test
compose-test: $(VENV)/.installed ## bring the Compose stack up, run the story against it, take it down
	$(BIN)/python -m tests.compose.stack

.PHONY: clean
clean: ## remove the virtual environment, the data and all caches
	rm -rf $(VENV) .raak .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
