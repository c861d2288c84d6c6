# `make demo` learns to lift a cube; `make test` checks everything; `make help` lists the rest.
SHELL = /bin/sh
.DEFAULT_GOAL = help

VENV ?= .venv
EXTERNAL_VENV ?= .venv-external
DEMO ?= task=lift_cube
PYTEST_ARGS ?=
BIN = $(VENV)/bin
BOOTSTRAP = sh tools/bootstrap.sh

.PHONY: help demo install dev external system test soak check format wheel clean

help: ## list the targets
	@echo "make demo     set up everything on this machine, then learn to lift a cube: journeyman train $(DEMO)"
	@echo "make test     set up everything, then run the checks and the tests; PYTEST_ARGS='-m \"not slow\"' for less"
	@echo "make soak     the tests that take minutes and say more of what shorter ones say, too"
	@echo "make check    ruff, ruff format, mypy, import-linter"
	@echo "make format   let ruff repair what it can"
	@echo "make external an environment of its own, $(EXTERNAL_VENV), for the benchmarks of others (docs/external.md)"
	@echo "make wheel    build the wheel, install it into an empty environment elsewhere and try it there"
	@echo "make clean    remove what was built and cached (the virtual environment and runs/ stay)"
	@echo "Variables: PYTHON=/path/to/python3.11  VENV=directory  EXTERNAL_VENV=directory  TORCH_INDEX=url (for torch only)  DEMO='task=reach seed=1'"

demo: install system
	"$(BIN)/journeyman" train $(DEMO)

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev
external: $(EXTERNAL_VENV)/.installed-external

# Stamps, so that only a change of what is to be installed installs again.
$(VENV)/.installed: pyproject.toml setup.py constraints.txt
	@$(BOOTSTRAP) venv "$(VENV)"
	@$(BOOTSTRAP) install "$(VENV)"
	@touch "$@"

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BOOTSTRAP) install "$(VENV)" dev
	@touch "$@"

# Apart from the others: it wants an older mujoco.
$(EXTERNAL_VENV)/.installed-external: pyproject.toml setup.py constraints.txt constraints-external.txt
	@$(BOOTSTRAP) venv "$(EXTERNAL_VENV)"
	@$(BOOTSTRAP) install "$(EXTERNAL_VENV)" external
	@touch "$@"

system: $(VENV)/.installed
	@$(BOOTSTRAP) system "$(VENV)"

# The tests run even where a check fails, and last, so that their closing line ends the output.
test: dev system
	@status=0; \
	$(MAKE) --no-print-directory check || status=1; \
	"$(BIN)/python" -m pytest -n auto --maxprocesses 8 --dist worksteal $(PYTEST_ARGS) || status=1; \
	exit $$status

soak: dev system
	"$(BIN)/python" -m pytest -n auto --maxprocesses 8 -m soak $(PYTEST_ARGS)

check: dev
	@status=0; \
	for command in "ruff check ." "ruff format --check ." "mypy" "lint-imports --no-logo"; do \
		echo "==> $$command"; \
		"$(BIN)"/$$command || status=1; \
	done; \
	exit $$status

format: dev
	"$(BIN)/ruff" check --fix .
	"$(BIN)/ruff" format .

wheel: dev
	rm -rf build dist
	"$(BIN)/python" -m build --no-isolation --outdir dist .
	@sh tools/smoke_wheel.sh "$(BIN)/python" dist/*.whl

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -not -path "./$(EXTERNAL_VENV)/*" -prune -exec rm -rf {} +
