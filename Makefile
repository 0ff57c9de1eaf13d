# Two commands for people: `make quickstart` and `make test`. Each sets up what it needs.

MAKEFLAGS += --jobs=2 # the two environments are made side by side

PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check
STORE ?= mashbill-store

.PHONY: setup quickstart test test-slow check fmt bench clean

setup: .venv/ready .venv/img2dataset/ready

# The downloader's pins (pandas<3, webdataset<0.3, ...) would dictate ours, so it lives apart.
.venv/img2dataset/ready: constraints-img2dataset.txt | .venv/python
	.venv/bin/python -m venv .venv/img2dataset
	.venv/img2dataset/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-img2dataset.txt img2dataset==1.47.0
	touch $@

# compat: the checkout stands on the path like any package. The other way of setuptools comes after it, and a
# folder named store where a build or a Ray worker is started would be taken for our package.
.venv/ready: pyproject.toml constraints.txt | .venv/python
	$(PIP) -c constraints.txt --config-settings editable_mode=compat --editable '.[dev]'
	touch $@

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

quickstart: setup
	.venv/bin/mashbill quickstart --store $(STORE)

# What the tests of the curation pages drive: Chromium and a PostgreSQL server, from Debian where missing.
.venv/debian-ready: tests/debian-packages.sh | .venv/python
	tests/debian-packages.sh
	touch $@

test: setup .venv/debian-ready
	.venv/bin/python -m pytest -m 'not slow and not ranks' -n 2
	.venv/bin/python -m pytest -m 'not slow and ranks'

test-slow: setup .venv/debian-ready
	.venv/bin/python -m pytest -m slow

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

fmt: .venv/ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: setup
	.venv/bin/python -m benchmarks.run

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
