# `make` lists what there is. Everything happens in .venv, which the first target that needs it makes.
# Another Python than python3: make test PYTHON=python3.12. Tests run in two processes, each on servers of its own; one after
# another: make test WORKERS=0

PYTHON ?= python3
BIN := .venv/bin
RUNS ?= 20
SIZE ?= quick
WORKERS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check up bench bench-smoke faults canaries traces clean

help:
	@echo 'make demo    a long conversation becomes memories, on real servers (needs nothing but Python and a network)'
	@echo 'make test    check, then every test, on real servers'
	@echo 'make check   ruff, mypy, import-linter'
	@echo 'make up      Redis, MongoDB, the daemon and sync, until Ctrl-C'
	@echo 'make bench   the measurements in bench/, and docs/performance.md from them: make bench SIZE=full LOCOMO=locomo_dev.json'
	@echo 'make bench-smoke  each of them runs, at sizes at which nothing is measured'
	@echo 'make faults  randomised faults on real servers, judged: make faults RUNS=100 SEED=1 JOBS=2'
	@echo 'make traces  5,000 operations, daemons, syncs and Redis are killed: is each traced to its end? make traces SEED=1'
	@echo 'make canaries  10,000 planted words, forgotten in ten ways, looked for in every byte: make canaries SEED=1'
	@echo 'make clean   remove .venv and everything the tools made'

demo: .venv/daemon.stamp
	$(BIN)/memoryd model prepare
	$(BIN)/memoryd demo

test: check
	$(BIN)/memoryd model prepare
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

check: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

up: .venv/daemon.stamp
	$(BIN)/memoryd up

bench: .venv/daemon.stamp
	$(BIN)/memoryd model prepare
	$(BIN)/python -m bench --size $(SIZE) $(if $(LOCOMO),--locomo $(LOCOMO)) $(if $(LONGMEMEVAL),--longmemeval $(LONGMEMEVAL))

bench-smoke: .venv/dev.stamp
	$(BIN)/pytest tests/integration/test_bench.py

faults: .venv/dev.stamp
	$(BIN)/python -m tests.faults --runs $(RUNS) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

traces: .venv/dev.stamp
	$(BIN)/python -m tests.faults.traces $(if $(SEED),--seed $(SEED))

canaries: .venv/dev.stamp
	$(BIN)/python -m tests.faults.canaries $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than pyproject.toml when what it names is installed. The venv itself is made anew when it is not whole.
.venv/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "memoryd needs Python 3.11 or later, $(PYTHON) is none; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

.venv/daemon.stamp: .venv/venv.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[daemon]'
	@touch $@

.venv/dev.stamp: .venv/daemon.stamp
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@
