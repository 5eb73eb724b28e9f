# Two commands are enough: `make run` and `make test`. Nothing is needed but Debian's python3 (3.11 or later) and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps

# The environment's own pip where it has one; otherwise the system's pip works on the environment from outside.
PIP = $$(if $(BIN)/python -m pip --version >/dev/null 2>&1; then echo $(BIN)/python -m pip; \
	else echo $(PYTHON) -m pip --python $(BIN)/python; fi)
INSTALL = $(PIP) install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test unit e2e lint format bench lock clean distclean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMPS)/run ## install into .venv and start Penstock with the examples
	@exec $(BIN)/penstock serve --examples

# Debian's packages are brought while all is done that needs none of them; what apt has begun it ends, whatever fails beside it.
test: ## install what tests need and run every check
	@export PENSTOCK_CHECKS_STARTED=$$(date +%s); \
	tools/debian_packages.sh & packages=$$!; \
	$(MAKE) --silent $(STAMPS)/dev && tools/check.sh lint; status=$$?; \
	wait $$packages || exit; \
	[ $$status -eq 0 ] || exit $$status; \
	tools/check.sh tests

unit: $(STAMPS)/dev ## run the fast tests only
	@tools/unit.sh

e2e: $(STAMPS)/dev ## run the end-to-end tests only
	@$(BIN)/python -m pytest tests/e2e

lint: $(STAMPS)/dev ## check format, lint, types and import contracts
	@tools/check.sh lint

format: $(STAMPS)/dev ## format the code and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMPS)/dev ## measure the speed table; results go to bench/results
	@tools/debian_packages.sh
	@$(BIN)/python -m bench

lock: ## resolve the dependencies anew (needs uv)
	@uv --no-config lock --upgrade --default-index https://pypi.org/simple
	@uv --no-config export --quiet --frozen --no-emit-project --no-header -o requirements.lock
	@uv --no-config export --quiet --frozen --no-emit-project --no-header --extra dev -o requirements-dev.lock

clean: ## remove caches and build output
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests tools examples bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove the environment as well
	@rm -rf $(VENV)

# Debian's python3 comes without ensurepip unless python3-venv is installed; then the environment is made without pip.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Penstock needs Python 3.11 or later: make PYTHON=python3.12")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || \
		{ rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV); }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv requirements.lock pyproject.toml
	@echo "Installing Penstock and its dependencies"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements-dev.lock
	@echo "Installing the test tools"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
