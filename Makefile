# `make demo` shows the whole workflow on a real cluster in containers, `make demo-ml` the same with PyTorch and a training
# job of two nodes, `make test` tests this project, and `make bench` measures distribution to many nodes (BENCH=--quick:
# some minutes). `make sites` takes the same walk on clusters of other shapes (SITES="names ports": these). All install what is missing: Debian packages (as root, or by sudo) and a virtual environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := podman mmdebstrap runc netavark aardvark-dns iptables iproute2 procps rsync openssh-client python3-venv \
	squashfs-tools rpm
INSTALL := $(BIN)/pip install --quiet --require-hashes --only-binary :all:
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes --no-header \
	--system-certs $(UPGRADE)
TURN := $(shell date +%-j)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo demo-ml bench sites test lint unit lab-test packages lock mutants clean

demo: packages $(VENV)/installed
	$(SUDO) $(abspath $(BIN))/python demo.py

demo-ml: packages $(VENV)/installed
	$(SUDO) $(abspath $(BIN))/python demo_ml.py

bench: packages $(VENV)/installed
	$(SUDO) $(abspath $(BIN))/python -m bench.distribution $(BENCH)
	$(BIN)/python -m bench.simulate

sites: packages $(VENV)/installed
	$(SUDO) $(abspath $(BIN))/python -m tests.sites $(SITES)

test: packages lint unit lab-test

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

unit: $(VENV)/installed
	$(BIN)/pytest -n 2

# The slow ones in turn, a part each day; TURN= takes all.
lab-test: packages $(VENV)/installed
	$(SUDO) env HPCREG_TURN=$(TURN) $(abspath $(BIN))/pytest -m lab -n 2 --dist loadfile --durations=20

packages:
	@missing=$$(for name in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || echo $$name; done); \
	if [ -n "$$missing" ]; then \
	  $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
	fi

# Nothing is installed but what is locked: --clear, since what an older lock brought would stay otherwise.
$(VENV)/installed: pyproject.toml requirements/development.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --requirement requirements/development.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# ONLY=agent/publish.py: that module, or that directory; all takes hours. EVERY=4: one mutant of four. See reports/mutants.md.
mutants: $(VENV)/mutants
	$(BIN)/python -m tools.mutants $(ONLY) $(if $(EVERY),--every $(EVERY))

$(VENV)/mutants: $(VENV)/installed requirements/mutants.txt
	$(INSTALL) --requirement requirements/mutants.txt
	touch $@

# Asks the index that pip is configured for. UPGRADE=--upgrade takes the newest of everything, UPGRADE='--upgrade-package
# rich' of one; otherwise what is locked stays where pyproject.toml allows it. The hashes are asked for anew in any case: uv
# believes those of the file that it is given.
lock: $(VENV)/installed
	$(call lock,development,--extra dev --extra bench pyproject.toml requirements/development.in)
	$(call lock,mutants,--constraint requirements/development.txt requirements/mutants.in)

define lock
	@index=$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null)}; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	sed -e '/ --hash=/d' -e 's/ \\$$//' requirements/$(1).txt > $(VENV)/$(1).txt; \
	$(LOCK) --output-file $(VENV)/$(1).txt $(2) && cp $(VENV)/$(1).txt requirements/$(1).txt
endef

clean:
	rm -rf $(VENV) build dist reports
