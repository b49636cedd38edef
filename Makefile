# Daily work, from a checkout with: pip install -e '.[dev]'
.PHONY: check test tests coverage campaigns docs site bench release audit

check:  ## lint, format, types, and who may import whom
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

test:  ## the README's suite
	pytest -n auto

tests:  ## all of them but the campaigns, as CI runs them
	pytest -n auto -m 'not campaign'

coverage:  ## what the README's suite runs through, least covered first; processes that it starts are not counted
	pytest -n auto --cov --cov-report=
	coverage report --sort=cover

campaigns:  ## hours: 100,000 drawn correct runs, every mistake in every cell
	pytest -m campaign -s

docs:  ## every example in the README and docs/ gives what it shows
	python .ci/readme.py check

site:  ## the documentation as a site, in site/; a warning is an error, and nothing in it comes from another host
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	python .ci/site/offline.py site

bench:  ## every table of ratios
	python -m benchmarks

audit:  ## what is imported is declared, what is declared is imported; no dependency has a known hole
	deptry .
	python .ci/audit.py

release:  ## builds, checks, installs and runs what is to be uploaded; the upload is yours
	bash .ci/release
