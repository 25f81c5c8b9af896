# `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.DEFAULT_GOAL := help

STACK ?= hello
PYTHON ?= python3
VENV := $(CURDIR)/.venv

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## Virtual environment, docker engine, collection link
	@$(PYTHON) -m tools.setup venv engine

venv: ## Virtual environment and collection link alone
	@$(PYTHON) -m tools.setup venv

demo: setup ## A fresh clone to a release under load [STACK=hello]
	@$(VENV)/bin/python -m tools.demo --stack $(STACK)

down: ## Remove the demo's cloud and everything else we made outside the clone
	@$(PYTHON) -m tools.down

clean: down ## `down`, and our images and the virtual environment too
	@$(PYTHON) -m tools.down --images
	rm -rf $(VENV) build .ansible .pytest_cache .mypy_cache .ruff_cache .cache

cloud-up: setup ## Start the local cloud
	@$(VENV)/bin/python -m local_cloud up

cloud-down: ## Stop the local cloud and remove all that it made
	@$(VENV)/bin/python -m local_cloud down

cloud-status: ## What runs in the local cloud
	@$(VENV)/bin/python -m local_cloud status

test: setup ## Lint, unit, roles, and the five systems end to end
	@$(VENV)/bin/python -m tools.suite lint unit roles e2e

lint: venv ## ansible-lint, yamllint, ruff, mypy, actionlint
	@$(VENV)/bin/python -m tools.suite lint

test-unit: venv ## Unit tests
	@$(VENV)/bin/python -m tools.suite unit

test-roles: setup ## Molecule, each role or one [ROLE=service]
	@$(VENV)/bin/python -m tools.suite roles $(if $(ROLE),--role $(ROLE))

test-e2e: setup ## End to end: all systems, or one with all of its tests [STACK=sums]
	@$(VENV)/bin/python -m tools.suite e2e $(if $(filter-out undefined file default,$(origin STACK)),--stack $(STACK))

bench: setup ## Measure releases under load [HOSTS=2,4,8]
	@$(VENV)/bin/python -m tests.bench --hosts $(or $(HOSTS),2,4,8) --write

docs: venv ## Write the references below docs/ from their specifications
	@$(VENV)/bin/python tools/reference.py

lock: venv ## Lock the newest versions that requirements.in allows
	@$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' requirements.in --output-file requirements.txt

.PHONY: help setup venv demo down clean cloud-up cloud-down cloud-status test lint test-unit test-roles test-e2e bench docs lock
