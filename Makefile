# Everything a developer or a trader types. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: attack trust help setup demo down status test lint types contracts sessions format bench logs psql migrate report doctor \
        mutation-score lost-answers screenshots bench-growth bench-history bench-pages bench-peers bench-scale bench-sessions \
        bench-verification soak kill-matrix fault-matrix two-hosts races \
        requirements reference release-schema release workflows advisories manifests matrix constraints

BIN := .venv/bin
STACK := $(BIN)/python -m local_stack
# The extras that the image has; all others are for a checkout.
DEPLOYED := --extra celery --extra fab --extra slack --extra smtp
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --custom-compile-command "make requirements" pyproject.toml $(DEPLOYED)

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install everything into .venv; returns at once when nothing changed
	@scripts/setup

demo: setup ## start the whole stack here, reconcile the demo accounts, print the report
	@$(STACK) demo

down: ## stop the stack; its data stays in .recon
	@if [ -x $(BIN)/python ]; then $(STACK) down; fi

status: setup ## what runs, and where
	@$(STACK) status

logs: setup ## follow the stack's logs
	@$(STACK) logs

psql: setup ## a psql session on the demo's trading database
	@$(STACK) psql

migrate: setup ## bring the demo's trading database up to date
	@$(STACK) run python -m kraken_recon migrate

doctor: setup ## what is wrong with the demo's installation, and what to do
	@$(STACK) run python -m kraken_recon doctor

report: setup ## what a trader wants to know after a run
	@$(STACK) run python -m kraken_recon report

test: setup ## every test, on up to four cores; one file's tests stay together, and the quick files come last
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup types contracts sessions ## ruff, mypy, the import contracts and the session rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy
	@$(BIN)/mypy

contracts: setup ## who may import whom
	@$(BIN)/lint-imports

sessions: setup ## no database session is opened past the unit of work, or left open
	@$(BIN)/python -m kraken_recon lint-sessions --only-in include/kraken_recon/database/unit_of_work.py \
		--only-in include/kraken_recon/desk_books/session_store.py \
		--only-in include/demo_bot/tables.py --only-in include/local_stack/databases.py dags include plugins
	@$(BIN)/python -m kraken_recon lint-sessions --exclude tests/unit/session_corpus/bad benchmarks scripts tests

format: setup ## let ruff reformat and fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## compare with other ways to do the job; eight minutes
	@$(BIN)/python -m benchmarks

bench-history: setup ## a two-year account of 100,000 entries: import, sync, explain, certify, backfill
	@$(BIN)/python -m benchmarks history

bench-growth: setup ## what the tables grow by: a year of 10,000 accounts on paper; writes docs/reference; a minute
	@$(BIN)/python -m benchmarks growth

bench-pages: setup ## the pages with 10,000 accounts and 10 million ledger rows behind them; twenty minutes
	@$(BIN)/python -m benchmarks pages

bench-peers: setup ## prove and parse one account with us and with NautilusTrader, OctoBot and ccxt; five minutes
	@$(BIN)/python -m benchmarks peers

mutation-score: setup ## damage ledgers and count what the reconciler notices; writes docs/reference
	@PYTHONPATH=include:plugins $(BIN)/python -m benchmarks mutation-score

races: setup ## step sessions through the product's statements in every order up to a bound; writes docs/reference
	@$(BIN)/python -W ignore -m benchmarks races

bench-scale: setup ## position_sync through a real Airflow, from 10 to 10,000 accounts; about eight minutes
	@PYTHONPATH=include:plugins $(BIN)/python -W ignore -m benchmarks scale

fault-matrix: setup ## every fault of the exchange at every job; ONLY='FAULT/JOB' for one cell; writes docs/reference
	@PYTHONPATH=include:plugins $(BIN)/python -m benchmarks fault-matrix --only '$(ONLY)'

bench-sessions: setup ## inject leaked and legitimate sessions, score the audit; writes docs/reference
	@PYTHONPATH=include:plugins $(BIN)/python -m benchmarks session-leaks

trust: fault-matrix kill-matrix races soak attack ## all that docs/trust.md tells of, one after another; as root; an hour

attack: setup ## every route, text, secret and seal against whoever means harm
	@$(BIN)/python -m pytest -q tests/airflow/test_attack_surface.py tests/airflow/test_hostile_texts.py \
		tests/airflow/test_canaries.py tests/integration/test_seals.py tests/integration/test_roles.py \
		tests/browser/test_in_chromium.py

soak: setup ## two virtual weeks of every DAG with faults and kills, compared with the truth; writes docs/reference
	@PYTHONPATH=include:plugins $(BIN)/python -W ignore -m benchmarks soak

two-hosts: setup ## cut off a host of Celery workers at work; as root; twenty minutes; writes docs/reference
	@PYTHONPATH=include:plugins $(BIN)/python -W ignore -m benchmarks two-hosts

kill-matrix: setup ## kill, stop, cut and fill every part of the deployment at work; as root; writes docs/reference
	@PYTHONPATH=include:plugins $(BIN)/python -W ignore -m benchmarks kill-matrix

bench-verification: setup ## measure from fill to verdict through a real Airflow; about eight minutes
	@PYTHONPATH=include:plugins $(BIN)/python -m benchmarks verification-latency

lost-answers: setup ## place 2,000 orders on a simulated Kraken that loses answers in every pair of ways
	@LOST_ANSWERS_ORDERS=2000 $(BIN)/python -m pytest -q -s --timeout=3600 -k every_order tests/integration/test_lost_answers.py

reference: setup ## write the pages of docs/reference that are made from the code
	@PYTHONPATH=include:plugins:scripts $(BIN)/python -W ignore -m reference_pages

release-schema: setup ## record the schema with used data as that of a release, for the test of upgrades
	@PYTHONPATH=include:plugins:tests $(BIN)/python -m desks.released_schema $(or $(RELEASE),0.2.0)

screenshots: setup ## take the pictures of docs/images from a desk with a story; needs Chromium
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -q -k every_page tests/browser

requirements: setup ## recompile the pinned requirements from pyproject.toml
	@$(COMPILE) --extra dev -o requirements-dev.txt
	@$(COMPILE) -c requirements-dev.txt -o requirements.txt

workflows: setup ## GitHub's own files: do they keep to their forms, and what could be abused in them
	@$(BIN)/python -m pytest -q tests/policy/test_workflows.py
	@$(BIN)/uv tool run --quiet zizmor==1.32.0 --offline --no-progress .github

advisories: setup ## known weaknesses of the packages that are pinned, in the image and for developing
	@for pinned in requirements.txt requirements-dev.txt; do \
		$(BIN)/uv tool run --quiet pip-audit==2.10.1 --strict --require-hashes --disable-pip \
			--progress-spinner off --requirement $$pinned || exit 1; done

manifests: setup ## the files for Kubernetes against the schemas of its newest version
	@$(BIN)/uv tool run --quiet --from kubernetes-validate==1.37.0 kubernetes-validate --strict --quiet \
		$(filter-out deploy/kubernetes/values%,$(wildcard deploy/kubernetes/*.yaml))

release: setup ## build both distributions and their SBOM into dist/; TAG=vX.Y.Z refuses another version
	@scripts/build-release $(TAG)

MATRIX := PYTHONPATH=include:scripts $(BIN)/python -m wheel_matrix

matrix: setup ## install the wheel into clean environments; ALL=1 for all, AIRFLOW=3.2.2 ON_PYTHON=3.12
	@$(MATRIX) $(if $(ALL),--all) $(if $(AIRFLOW),--airflow $(AIRFLOW)) $(if $(ON_PYTHON),--python $(ON_PYTHON))

constraints: setup ## derive deploy/constraints anew from what Airflow's releases declare
	@$(MATRIX) --write-constraints
