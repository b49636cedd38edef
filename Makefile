# Daily work, from a checkout with: pip install -e '.[dev]'
.PHONY: check test slow docs bench

check:  ## lint, format, types, and who may import whom
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

test:  ## the README's suite
	pytest -n auto

slow:  ## the long campaigns
	pytest -m slow -s

docs:  ## every example in the README and docs/ gives what it shows
	python .ci/readme.py check

bench:  ## every table of ratios
	python -m benchmarks
