# `make demo` shows the whole workflow on a real cluster in containers, `make test` tests this project, and `make bench`
# measures distribution to many nodes (BENCH=--quick: some minutes). All install what is missing: Debian packages (as root,
# or by sudo) and a virtual environment in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := podman mmdebstrap runc netavark aardvark-dns iptables iproute2 rsync openssh-client python3-venv
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo bench test lint unit lab-test packages clean

demo: packages $(VENV)/installed
	$(SUDO) $(abspath $(BIN))/python demo.py

bench: packages $(VENV)/bench
	$(SUDO) $(abspath $(BIN))/python -m bench.distribution $(BENCH)
	$(BIN)/python -m bench.simulate

test: packages lint unit lab-test

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/installed
	$(BIN)/pytest -n 2

lab-test: packages $(VENV)/installed
	$(SUDO) $(abspath $(BIN))/pytest -m lab -n 2 --dist loadfile --durations=20

packages:
	@missing=$$(for name in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$name 2>/dev/null | grep -q 'ok installed' || echo $$name; done); \
	if [ -n "$$missing" ]; then \
	  $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
	fi

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build dist reports
