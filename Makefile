# make demo   build, install into .venv, record 5 s of a simulated signal, verify its files
# make test   the same environment with the test extra, then every check
# make check  the quick half: formatting, lint, types, import contracts
# make soak   long storms, minutes to hours
# make bench  speed beside limits and peers, one table of it all; BENCH="--only ring,peers --markdown FILE" and the like

RUST_SOURCES := $(shell find crates -name '*.rs' -o -name 'Cargo.toml') Cargo.toml Cargo.lock
PROPERTY_TESTS = $(shell grep -rl '^from hypothesis' tests --include='test_*.py')
MINUTES ?= 10
VENV := $(CURDIR)/.venv
IN_VENV := env -u CONDA_PREFIX -u PYTHONPATH -u PYTHONHOME VIRTUAL_ENV="$(VENV)" PATH="$(VENV)/bin:$$PATH" \
	PYO3_PYTHON="$(VENV)/bin/python"

.PHONY: demo test check rust-test format soak bench clean

demo: .venv/.installed-all
	@$(IN_VENV) mullet demo
	@echo && echo '$$ mullet verify mullet_demo_output.h5' && $(IN_VENV) mullet verify mullet_demo_output.h5
	@echo && echo '$$ mullet verify mullet_demo_raw.h5' && $(IN_VENV) mullet verify mullet_demo_raw.h5

test: check rust-test
	$(IN_VENV) python -m pytest -n 4 --dist worksteal

check: .venv/.installed-test
	$(IN_VENV) cargo fmt --check
	$(IN_VENV) cargo clippy --quiet --locked --workspace --all-targets --features mulletdaq-ring/faults -- -D warnings
	$(IN_VENV) ruff check
	$(IN_VENV) ruff format --check
	$(IN_VENV) mypy
	$(IN_VENV) python -m mypy.stubtest mulletdaq._core --allowlist tests/stubtest_allowlist.txt
	$(IN_VENV) lint-imports

rust-test: .venv/.installed-test
	$(IN_VENV) cargo test --quiet --locked -p mulletdaq-ring --features faults
	$(IN_VENV) RUSTFLAGS="--cfg loom" cargo test --quiet --locked --release -p mulletdaq-ring --test interleavings \
		--target-dir target/loom

format: .venv/.installed-test
	$(IN_VENV) cargo fmt
	$(IN_VENV) ruff check --fix
	$(IN_VENV) ruff format

.venv/.installed-%: $(RUST_SOURCES) pyproject.toml tools/install.sh tools/requirements.py
	@tools/install.sh $*
	@touch $@

clean:
	rm -rf .venv target

soak: .venv/.installed-test
	@mkdir -p target
	$(IN_VENV) python benchmarks/load.py --minutes $(MINUTES) --png target/load.png --json target/load.json \
		--markdown target/load.md
	$(IN_VENV) python -m pytest -n 2 --hypothesis-profile thorough $(PROPERTY_TESTS)
	$(IN_VENV) python -m tests.ring.storm 100000000
	$(IN_VENV) python tools/weaken_orderings.py
	$(IN_VENV) python -m tests.faults.soak --seeds 10000
	$(IN_VENV) python -m tests.faults.kill_storm 1000
	$(IN_VENV) python -m tests.daemon.kill_storm 60
	$(IN_VENV) python -m tests.daemon.remote_storm 60

bench: .venv/.installed-peers
	$(IN_VENV) .venv/peers/bin/python benchmarks/run.py $(BENCH)

.venv/.installed-peers: .venv/.installed-test pyproject.toml tools/peers.sh
	$(IN_VENV) tools/peers.sh
	@touch $@
