# make            format check, lint, types, imports, fast tests: under a minute
# make setup      an environment in .venv with everything below; kernels compiled where there is a compiler
# make serve      the four brokers on this machine's loopback, data in ./data
# make test       all that CI runs
# make help       the rest

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?= 1
RUNS ?= 100
SECONDS_EACH ?= 20
STATES ?= 2000
ROUNDS ?= 20
ARGS ?=
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := check
.PHONY: check setup kernels serve format lint types imports fast fast-here fast-there test pure demo bench sim fuzz crash rot faults kill test-rdma peers help clean

check: setup
	@$(MAKE) --no-print-directory --output-sync=target --jobs=2 fast-here fast-there types format lint imports

$(BIN)/python:
	@echo "setup: a virtual environment in $(VENV), by $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "setup: needs python3.11 with venv (Debian: apt-get install python3.11-venv)"; rm -rf $(VENV); exit 1; }

$(STAMP): pyproject.toml setup.py | $(BIN)/python
	@echo "setup: Thalweg (editable) and its test tools into $(VENV)"
	@mkdir -p build; $(BIN)/python -m pip install --disable-pip-version-check --editable '.[test]' > build/setup.txt 2>&1 \
	|| { tail -n 40 build/setup.txt; exit 1; }
	@touch $@

setup: $(STAMP) kernels

kernels: $(STAMP)
	@$(BIN)/python tools/build_kernels.py

serve: setup
	@echo "serve: data in ./data, addresses below; stop with Ctrl-C"
	@$(BIN)/thalweg serve $(ARGS)

format: $(STAMP)
	@echo "format: ruff format --check"
	@mkdir -p build; $(BIN)/ruff format --check --quiet . > build/format.txt 2>&1 \
	|| { grep -o -- '--> [^:]*' build/format.txt; echo "format: run '$(BIN)/ruff format'"; exit 1; }

lint: $(STAMP)
	@echo "lint: ruff check"
	@$(BIN)/ruff check --quiet .

types: $(STAMP)
	@echo "types: mypy --strict, leniently over the kernels"
	@$(BIN)/python tools/check_types.py

imports: $(STAMP)
	@echo "imports: the contracts in pyproject.toml"
	@mkdir -p build; $(BIN)/lint-imports > build/imports.txt 2>&1 && tail -n 2 build/imports.txt || { cat build/imports.txt; exit 1; }

# The tests that start no process, in two halves that share two cores.
HERE := kafka mqtt tidy docs thalweg
fast: fast-here fast-there

fast-here: $(STAMP)
	@echo "fast: tests that start no process, $(HERE)"
	@$(PYTEST) -q -m "not slow" $(ARGS) $(HERE:%=tests/%)

fast-there: $(STAMP)
	@echo "fast: tests that start no process, the others"
	@$(PYTEST) -q -m "not slow" $(ARGS) tests $(HERE:%=--ignore=tests/%)

test: setup
	@failed=; \
	for step in format lint types imports; do $(MAKE) --no-print-directory $$step || failed="$$failed $$step"; done; \
	echo "test: every test"; $(PYTEST) -q $(ARGS) || failed="$$failed tests"; \
	if [ -n "$$failed" ]; then echo "make test: FAILED:$$failed"; exit 1; fi; echo "make test: passed"

pure: setup
	@echo "pure: fast tests on uncompiled kernels"
	@$(PYTEST) -q --pure -m "not slow" $(ARGS)

demo: setup
	@$(BIN)/python -m examples.demo $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(ARGS)
	@[ -n "$(ARGS)" ] || $(BIN)/python -m bench.fleet

sim: setup
	@echo "sim: the whole gateway under a seeded clock, disk and network: SEED=$(SEED) RUNS=$(RUNS)"
	@$(BIN)/python -m conformance.simulation --seed $(SEED) --runs $(RUNS) $(ARGS)

fuzz: setup
	@echo "fuzz: each codec and session for SECONDS_EACH=$(SECONDS_EACH) seconds, SEED=$(SEED)"
	@$(BIN)/python -m conformance.fuzz --seed $(SEED) --seconds $(SECONDS_EACH) --jobs $$(nproc) $(ARGS)

crash: setup
	@echo "crash: power cuts at every write, fsync and rename of a trace: STATES=$(STATES) SEED=$(SEED)"
	@$(BIN)/python -m conformance.crash_points --seed $(SEED) --states $(STATES) $(ARGS)
	@$(BIN)/python -m conformance.removal_points --seed $(SEED) --states $(STATES)

rot: setup
	@echo "rot: flipped bits, cut and older files: STATES=$(STATES) SEED=$(SEED)"
	@$(BIN)/python -m conformance.rot --seed $(SEED) --states $(STATES) $(ARGS)

faults: setup
	@echo "faults: ENOSPC and EIO at every site: SEED=$(SEED)"
	@$(BIN)/python -m conformance.failing_disk --seed $(SEED) $(ARGS)

conformance: setup
	@echo "conformance: real clients, feature by feature, on ours and on the real servers; kept in docs/conformance.json"
	@status=0; $(BIN)/thalweg conformance --save docs/conformance.json $(ARGS) || status=$$?; \
	$(BIN)/python tools/write_docs.py; exit $$status

kill: setup
	@echo "kill: SIGKILL of the real process under load on four protocols: ROUNDS=$(ROUNDS) SEED=$(SEED)"
	@$(BIN)/python -m conformance.kill_loop --seed $(SEED) --rounds $(ROUNDS) $(ARGS)

test-rdma: setup
	@echo "test-rdma: the RDMA transport on soft-RoCE in QEMU guests"
	@$(BIN)/python tools/rdma_guest.py $(ARGS)

peers:
	@echo "peers: real servers and stock tools from Debian packages (system-wide; needs root)"
	@$(PYTHON) tools/install_peers.py

clean:
	@echo "clean: compiled kernels, build/, caches (not $(VENV), not data/)"
	@rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find substrate protocols transports conformance thalweg -name '*.so' -delete

help:
	@sed -n 's/^# //p' Makefile
	@echo "make kernels    compile what is stale            make pure     fast tests on uncompiled kernels"
	@echo "make demo       real data through all four       make bench    ours beside nats-server, redis-server, mosquitto"
	@echo "make sim        SEED= RUNS=                      make fuzz     SECONDS_EACH= SEED="
	@echo "make crash      STATES= SEED=                    make rot      STATES= SEED="
	@echo "make kill       ROUNDS= SEED=                    make faults   SEED="
	@echo "make conformance  real clients, ours and real servers"
	@echo "make peers      install the real servers (root)  make clean"
