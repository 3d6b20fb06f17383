PYTHON ?= python

.PHONY: check lint types test slow soak lock audit docs
check: lint types test

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m pyright

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m slow -n 0 --timeout 7200

# Training under random faults, STRATA_SOAK_MINUTES long (30 by default).
soak:
	$(PYTHON) -m pytest -m slow tests/faults/test_soak.py -n 0 --timeout 0 -s

# Versions of what is installed here, with the hashes of their files; run the tests first.
lock:
	$(PYTHON) -m pip freeze --exclude-editable | grep == | sed 's/+.*//' > requirements.installed
	$(PYTHON) -m uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-annotate \
		--constraints requirements.installed --custom-compile-command "make lock" \
		--output-file requirements.lock --upgrade --quiet
	rm requirements.installed

# Known vulnerabilities of the locked versions. Needs PyPI itself: a mirror without its JSON pages
# knows of none, which --strict makes an error.
audit:
	$(PYTHON) -m pip install -q pip-audit
	$(PYTHON) -m pip_audit --strict --no-deps --disable-pip -r requirements.lock

# The documents as a site in build/site; a broken link is an error. Needs: pip install -e '.[docs]'
docs:
	$(PYTHON) -m mkdocs build --strict
