# Each target sets up what it needs, in .venv of this folder, and can be run again at any time.
#
#   make demo               the main job on real data, with an embedded server
#   make test               lints and tests
#   make test-faults        servers that die, stop and change places under load
#   make test-airflow       the example's DAG, run by Apache Airflow in .venv-airflow
#   make test-distributed   Feast's Spark and Ray engines, in .venv-spark and .venv-ray
#   make bench              the benchmark tables, written to benchmarks/results
#   make fuzz               the fuzzers for longer: make fuzz FUZZ_SECONDS=600
#
# PROFILE=dev-opt builds the extension in a fraction of the time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FEAST ?= 0.67.0
FUZZ_SECONDS ?= 300
PROFILE ?= release
# Debian's server where there is one; else the embedded Valkey, which speaks no TLS.
SERVER := $(shell command -v redis-server)
# Spark runs on it.
JAVA := $(shell command -v "$${JAVA_HOME:+$$JAVA_HOME/bin/}java")
RUST := $(shell find src proto -type f) Cargo.toml Cargo.lock build.rs pyproject.toml

export VIRTUAL_ENV := $(abspath $(VENV))
unexport PYTHONHOME CONDA_PREFIX

.PHONY: demo test bench fuzz develop lint test-rust test-python clean
.PHONY: test-faults test-airflow test-distributed test-spark test-ray

demo: develop $(VENV)/.demo
	$(BIN)/python -W ignore examples/flights/demo.py $(DEMO)

test: lint test-rust test-python

bench: develop $(VENV)/.bench
	$(BIN)/python -W ignore -m benchmarks $(BENCH)

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --locked --release --no-default-features --test fuzz -- --nocapture

develop: $(VENV)/.built

lint: develop $(VENV)/.test
	cargo fmt --check
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	cargo clippy --locked --features python --lib -- -D warnings
	$(BIN)/ruff check python tests examples benchmarks
	$(BIN)/ruff format --check python tests examples benchmarks
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest feast_rs._core

test-rust: export FUZZ_SECONDS := 60
test-rust: $(VENV)/.test
ifeq ($(SERVER),)
	@echo 'No redis-server here: the embedded Valkey serves, and TLS is not tested.'
	FEAST_RS_REDIS_SERVER="$$($(BIN)/python -c 'from tests.support.server import server_binary as s; print(s())')" \
	    cargo test --locked --no-default-features -- --skip over_tls
else
	cargo test --locked --no-default-features
endif

test-python: develop $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST)

test-faults: develop $(VENV)/.test
	$(BIN)/python -m pytest tests/faults $(PYTEST)

test-airflow: .venv-airflow/.ready
	.venv-airflow/bin/python -m pytest tests/airflow

test-distributed: test-spark test-ray

ifeq ($(JAVA),)
test-spark:
	@echo "SKIPPED: Feast's Spark engine is not tested, for there is no Java here (17 or newer)."
else
test-spark: .venv-spark/.ready
	.venv-spark/bin/python -m pytest tests/distributed/test_spark.py
endif

test-ray: .venv-ray/.ready
	.venv-ray/bin/python -m pytest tests/distributed/test_ray.py

clean:
	rm -rf $(VENV) .venv-airflow .venv-spark .venv-ray target python/feast_rs/_core*.so

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet 'feast[redis]==$(FEAST)' 'maturin>=1.9,<2'
	touch $@

$(VENV)/.built: $(VENV)/.made $(RUST)
	$(BIN)/maturin develop --profile $(PROFILE) --locked --quiet
	touch $@

$(VENV)/.test: $(VENV)/.made tests/requirements.txt
	$(BIN)/python -m pip install --quiet -r tests/requirements.txt
	touch $@

$(VENV)/.demo: $(VENV)/.made examples/flights/requirements.txt
	$(BIN)/python -m pip install --quiet -r examples/flights/requirements.txt
	touch $@

$(VENV)/.bench: $(VENV)/.made benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet -r benchmarks/requirements.txt
	touch $@

# The same build as a wheel, for the environments that are not .venv.
$(VENV)/.wheel: $(VENV)/.built
	rm -rf target/wheels
	$(BIN)/maturin build --profile $(PROFILE) --locked --quiet --compatibility linux \
	    --interpreter $(BIN)/python --out target/wheels
	touch $@

.venv-airflow/.made: tests/airflow/requirements.txt examples/airflow/requirements.txt
.venv-spark/.made: tests/distributed/requirements-spark.txt
.venv-ray/.made: tests/distributed/requirements-ray.txt
.venv-airflow/.made .venv-spark/.made .venv-ray/.made:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet 'feast[redis]==$(FEAST)' -r $<
	touch $@

.venv-airflow/.ready .venv-spark/.ready .venv-ray/.ready: .venv-%/.ready: .venv-%/.made $(VENV)/.wheel
	$(@D)/bin/python -m pip install --quiet --no-deps --force-reinstall target/wheels/*.whl
	touch $@
