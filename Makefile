# `make demo` learns to lift a cube; `make test` checks everything; `make help` lists the rest.
SHELL = /bin/sh
.DEFAULT_GOAL = help

VENV ?= .venv
EXTERNAL_VENV ?= .venv-external
DEMO ?= task=lift_cube
PYTEST_ARGS ?=
BIN = $(VENV)/bin
BOOTSTRAP = sh tools/bootstrap.sh
# In an environment of their own: what is audited is not to be changed by what audits it.
AUDIT_VENV ?= .venv-audit
AUDIT_TOOLS = pip-audit==2.10.1 cyclonedx-bom==7.5.0
SBOM ?= sbom.json

.PHONY: help demo install dev external system test soak check format wheel audit sbom clean

help: ## list the targets
	@echo "make demo     set up everything on this machine, then learn to lift a cube: journeyman train $(DEMO)"
	@echo "make test     set up everything, then run the checks and the tests; PYTEST_ARGS='-m \"not slow\"' for less"
	@echo "make soak     the tests that take minutes and say more of what shorter ones say, too"
	@echo "make check    ruff, ruff format, mypy, import-linter"
	@echo "make format   let ruff repair what it can"
	@echo "make external an environment of its own, $(EXTERNAL_VENV), for the benchmarks of others (docs/external.md)"
	@echo "make wheel    build the wheel, install it into an empty environment elsewhere and try it there"
	@echo "make audit    known weaknesses of the pinned dependencies; needs a network and the advisories of PyPI"
	@echo "make sbom     what is installed, as CycloneDX JSON in $(SBOM)"
	@echo "make clean    remove what was built and cached (the virtual environment and runs/ stay)"
	@echo "Variables: PYTHON=/path/to/python3.11  VENV=directory  WORKERS=processes of the tests  EXTERNAL_VENV=directory  TORCH_INDEX=url (for torch only)  DEMO='task=reach seed=1'"

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

# One more than there are cores, at most 8: many tests wait for processes that they started.
WORKERS ?= $(shell cores=$$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 1); echo $$(( cores < 8 ? cores + 1 : 8 )))
PYTEST = "$(BIN)/python" -m pytest -n $(WORKERS) --dist worksteal

# The tests run even where a check fails, and last, so that their closing line ends the output.
test: dev system
	@status=0; \
	$(MAKE) --no-print-directory check || status=1; \
	$(PYTEST) $(PYTEST_ARGS) || status=1; \
	exit $$status

soak: dev system
	$(PYTEST) -m soak $(PYTEST_ARGS)

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

$(AUDIT_VENV)/.installed: Makefile
	@$(BOOTSTRAP) venv "$(AUDIT_VENV)"
	"$(AUDIT_VENV)/bin/python" -m pip install --quiet $(AUDIT_TOOLS)
	@touch "$@"

# Strict: a package of which nothing could be learned counts as a finding, not as a sound one.
audit: $(AUDIT_VENV)/.installed
	"$(AUDIT_VENV)/bin/pip-audit" --strict --no-deps --disable-pip --requirement constraints.txt

sbom: install $(AUDIT_VENV)/.installed
	"$(AUDIT_VENV)/bin/cyclonedx-py" environment --output-reproducible --output-format JSON --output-file "$(SBOM)" \
		--pyproject pyproject.toml "$(BIN)/python"

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -not -path "./$(EXTERNAL_VENV)/*" \
		-not -path "./$(AUDIT_VENV)/*" -prune -exec rm -rf {} +
