# Every verb first makes its machine ready (scripts/setup.sh): the second time that costs nothing.
# Choose an interpreter by PYTHON=python3.12; pip reads its PIP_* variables as usual.

# Tests run in as many processes as there are cores (a file in one): WORKERS=0 has them in one, for a debugger.

PYTHON ?= python3
WORKERS ?= auto
# In the order of their names: what takes longest (end_to_end) comes first, and none is waited for alone at the end.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
VENV := .venv
READY := $(VENV)/.ready
SWIFT := .venv-swift/.ready
VLLM := .venv-vllm/.ready
BIN := $(VENV)/bin
# A benchmark whose name begins with gpu_ needs a GPU; one that begins with _ is a part of others.
BENCHES := $(filter-out gpu_% _%,$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/*.py)))

S3_TESTS := tests/conformance $(wildcard tests/*/test_store_s3*.py) \
	$(addprefix tests/integration/test_store_,redirects.py direct_uploads.py)
TORCH_TESTS := $(wildcard $(foreach kind,graph dispatch gpu load torch,tests/*/test_$(kind)_*.py))

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test test-ceph race lint format bench serve setup clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z][a-zA-Z_%-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  make bench-NAME   Run benchmarks/NAME.py: $(BENCHES)"

demo: $(READY) ## The main job: compile and publish a model, then load it all in a fresh process
	$(BIN)/python demo/main_job.py

test: $(READY) $(SWIFT) $(VLLM) ## Run all tests
	@scripts/setup.sh servers postgresql
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-ceph: $(READY) ## Run the tests of blobs in S3 against Ceph's radosgw
	@scripts/setup.sh servers ceph
	S3_SERVER=ceph $(BIN)/python -m pytest $(PARALLEL) $(or $(ARGS),$(S3_TESTS))

test-torch-%: ## Run the tests that meet torch with that version of it, in an environment of its own
	VENV=.venv-torch-$* TORCH=$* scripts/setup.sh
	.venv-torch-$*/bin/python -m pytest $(PARALLEL) $(or $(ARGS),$(TORCH_TESTS))

race: $(READY) ## Have publishers, readers and collectors of a store race for longer than the tests do
	@scripts/setup.sh servers postgresql
	RACE_ROUNDS=$(or $(ROUNDS),150) $(BIN)/python -m pytest $(ARGS) tests/faults/test_store_gc_race.py

lint: $(READY) ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Put the code into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(addprefix bench-,$(BENCHES)) ## Run every benchmark that needs no GPU; results go to build/bench

bench-%: benchmarks/%.py $(READY)
	@scripts/setup.sh servers redis wrk nginx postgresql
	@mkdir -p build/bench
	$(BIN)/python $< $(ARGS)

serve: $(READY) ## Start a store on http://127.0.0.1:8765
	$(BIN)/inductory serve $(ARGS)

setup: $(READY) ## Only make the machine ready

$(READY): pyproject.toml constraints-dev.txt scripts/setup.sh
	@scripts/setup.sh

$(SWIFT): scripts/setup.sh
	@scripts/setup.sh servers swift

$(VLLM): $(READY) requirements-vllm.txt
	@scripts/setup.sh vllm

clean: ## Remove what was built; the virtual environment stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
