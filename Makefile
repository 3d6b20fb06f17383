PYTHON ?= python

.PHONY: check lint types test slow
check: lint types test

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m pyright

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m slow --timeout 7200
