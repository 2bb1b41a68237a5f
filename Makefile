# Thin names over the real commands. Everything sets itself up on first use.
PYTHON = .venv/bin/python
RUFF = cd python && ../.venv/bin/ruff
SOURCES = src ../tests/python ../bench ../demo ../tools

TEST_PROCESSES = 2
MAVEN = mvn --batch-mode --quiet --no-transfer-progress

.PHONY: demo test test-python test-groovy lint bench setup setup-groovy setup-parts generate format lock

setup:
	@tools/setup.sh

setup-groovy:
	@tools/setup_groovy.sh

setup-parts:  ## what tests of images, of the shared ledger, of Spark and of Kubernetes run; where it cannot be had, they are skipped, and fail under CI
	@tools/setup_images.sh || [ "$$CI" != true ]
	@tools/setup_second_machine.sh || [ "$$CI" != true ]
	@tools/setup_postgresql.sh || [ "$$CI" != true ]
	@tools/setup_java.sh || [ "$$CI" != true ]
	@tools/setup_kubernetes.sh || [ "$$CI" != true ]

demo: setup  ## the whole main job on real flights: four releases, one of them taken back by itself
	@$(PYTHON) demo/run.py

test: test-groovy test-python  ## everything: the steps as a Jenkins runs them, the worker with real parts, the tutorial and the demo

test-python: setup setup-parts  ## a file's tests stay in one process: they share the parts they start
	@cd python && ../.venv/bin/python -m pytest -c pyproject.toml --rootdir . --numprocesses $(TEST_PROCESSES) --dist loadfile $(TESTS)

test-groovy: setup setup-groovy  ## the steps of the library: call graphs, and under groovy-cps with the real worker
	cd tests/groovy && $(MAVEN) test

lint: setup setup-groovy
	$(RUFF) format --no-cache --config pyproject.toml --check $(SOURCES)
	$(RUFF) check --no-cache --config pyproject.toml $(SOURCES)
	cd python && ../.venv/bin/mypy
	cd python && ../.venv/bin/lint-imports
	$(PYTHON) tools/generate.py --check
	$(PYTHON) tools/steps_reference.py --check
	cd tests/groovy/codenarc && $(MAVEN) test

bench: setup  ## ratios, side by side in one run
	@for file in bench/[a-z]*.py; do echo "== $$file"; $(PYTHON) $$file || exit; done

generate: setup  ## reference pages and the schema, from the code
	$(PYTHON) tools/generate.py
	$(PYTHON) tools/steps_reference.py

format: setup
	$(RUFF) check --no-cache --config pyproject.toml --fix-only --quiet $(SOURCES)
	$(RUFF) format --no-cache --config pyproject.toml $(SOURCES)

lock: setup  ## resolves the dependencies anew; the committed file has hashes and no index address
	cd python && ../.venv/bin/uv lock && ../.venv/bin/uv export --quiet --no-emit-project --no-annotate --no-header --output-file requirements.lock.txt >/dev/null
