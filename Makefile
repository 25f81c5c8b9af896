# `make demo` and `make test` are all that a newcomer needs; `make help` lists the rest.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.DEFAULT_GOAL := help

STACK ?= hello
PYTHON ?= python3
VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## Virtual environment, docker engine, collection link
	@$(PYTHON) -m tools.setup

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

test: setup ## Everything: lint, unit, roles, end to end
	@$(VENV)/bin/python -m tools.suite lint unit roles e2e

lint: setup ## ansible-lint, yamllint, ruff, mypy
	@$(VENV)/bin/python -m tools.suite lint

test-unit: setup ## Unit tests
	@$(VENV)/bin/python -m tools.suite unit

test-roles: setup ## Molecule, each role or one [ROLE=service]
	@$(VENV)/bin/python -m tools.suite roles $(if $(ROLE),--role $(ROLE))

test-e2e: setup ## End to end, each stack or one [STACK=hello]
	@$(VENV)/bin/python -m tools.suite e2e $(if $(filter-out undefined file default,$(origin STACK)),--stack $(STACK))

docs: setup ## Write the references below docs/ from their specifications
	@$(VENV)/bin/python tools/reference.py

.PHONY: help setup demo down clean cloud-up cloud-down cloud-status test lint test-unit test-roles test-e2e docs
