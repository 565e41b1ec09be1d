# Slim-SUPERB. `make help` lists the targets. Each target prepares the environment that it needs.

PYTHON ?= python3
VENV ?= .venv
# The exact version of every package that is installed; `make lock` writes the file again.
CONSTRAINTS ?= constraints.txt
# Installed first, so that pip does not choose another build of it for a dependency.
TORCH ?= $(shell grep '^torch==' constraints.txt)
BIN := $(VENV)/bin
# A second environment, with the newest packages: it shows what the next `make lock` would break.
NEWEST := .venv-newest
CLI := $(BIN)/slim-superb
# Modules are compiled when they are first imported: compiling all 20,000 takes longer than tests do.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

TRACK ?= quick
SEED ?= 0
THREADS ?= 1
# Processes that run tests, one thread each; the tests of one file run in one of them.
TEST_WORKERS ?= 2
OUT ?= runs

.DEFAULT_GOAL := help
# No target is a file, except those that are called by their path.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make eval UPSTREAM=lighthubert_small TASK=asr [TRACK=quick] [SEED=0] [WEIGHTS=FILE]"
	@echo "            [STRICT=1] [FORCE=1] [LR=1e-3] [LIMIT=N] [STEPS=N] [DEB_DIR=DIR] [OUT=runs] [JSON=1]"
	@echo "            [CONDITIONS=distorted-seen,ood] [NOISE_DIR=DIR]"
	@echo "            [SEEDS=0,1,2] [STORE_GB=50] [DEVICE=cuda] [PRECISION=bf16]"
	@echo "            [TRACK=superb DATA=/corpora] [LR=published] [PLAN=1]"

# $(call install,[EXTRAS]): the packages of a fresh environment, in one call after torch.
define install
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) "$(TORCH)"
	@$(PIP) --editable '.$(1)'
	@touch $(VENV)/.made $@
endef

$(VENV)/.made: pyproject.toml $(CONSTRAINTS)
	@echo "setting up $(VENV) (about a minute)"
	$(install)

$(VENV)/.made-dev: pyproject.toml $(CONSTRAINTS)
	@echo "setting up $(VENV), with the packages that the tests need"
	$(call install,[test])

setup: $(VENV)/.made ## make the virtual environment for evaluations

setup-dev: $(VENV)/.made-dev ## the same with packages for tests, lint and types

$(VENV)/.made-conditions: $(VENV)/.made
	@echo "installing the packages that distortions need"
	@$(PIP) --editable '.[conditions,plots]'
	@touch $@

setup-conditions: $(VENV)/.made-conditions ## the same with packages for rooms, codecs and plots

data: setup ## prepare the corpora of a track: make data TRACK=quick [DEB_DIR=DIR] [DATA=/corpora]
	@$(CLI) data prepare --track $(TRACK) $(if $(DEB_DIR),--deb-dir $(DEB_DIR)) \
	  $(if $(DATA),--data '$(DATA)')

eval: setup $(if $(CONDITIONS),setup-conditions) ## evaluate: make eval UPSTREAM=lighthubert_small TASK=asr
	@test -n "$(UPSTREAM)" -a -n "$(TASK)" || \
	  { echo "make eval: name both, as in: make eval UPSTREAM=lighthubert_small TASK=asr" >&2; exit 2; }
	@$(CLI) eval '$(UPSTREAM)' '$(TASK)' --track '$(TRACK)' --seed $(SEED) --out '$(OUT)' \
	  $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(DEB_DIR),--deb-dir '$(DEB_DIR)') \
	  $(if $(LR),--lr $(LR)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(STEPS),--steps $(STEPS)) $(if $(STRICT),--strict) \
	  $(if $(FORCE),--force) $(if $(JSON),--json) $(if $(SEEDS),--seeds $(SEEDS)) \
	  $(if $(STORE_GB),--store-gb $(STORE_GB)) $(if $(DEVICE),--device $(DEVICE)) \
	  $(if $(PRECISION),--precision $(PRECISION)) \
	  $(if $(DATA),--data '$(DATA)') $(if $(PLAN),--plan) \
	  $(if $(CONDITIONS),--conditions '$(CONDITIONS)') $(if $(NOISE_DIR),--noise-dir '$(NOISE_DIR)')

grid: setup $(if $(FILE)$(CONDITIONS),setup-conditions) ## run a grid: make grid UPSTREAMS='ge2e;fbank' TASKS=ks,sid [SEEDS=0,1] or make grid FILE=GRID.yaml
	@test -n "$(FILE)$(UPSTREAMS)" || { echo "make grid: name UPSTREAMS=... and TASKS=..., or FILE=..." >&2; exit 2; }
	@$(CLI) grid $(if $(FILE),'$(FILE)',--upstreams '$(UPSTREAMS)' --tasks '$(TASKS)' \
	  --track '$(TRACK)' $(if $(SEEDS),--seeds $(SEEDS)) $(if $(CONDITIONS),--conditions '$(CONDITIONS)')) \
	  --out '$(OUT)' $(if $(WORKERS),--workers $(WORKERS)) $(if $(PLAN),--plan) $(if $(JSON),--json) \
	  $(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(HOURS),--max-hours $(HOURS))

cost: setup ## measure parameters, MACs, time and memory: make cost UPSTREAM=lighthubert_small
	@test -n "$(UPSTREAM)" || { echo "make cost: name UPSTREAM=..." >&2; exit 2; }
	@$(CLI) cost '$(UPSTREAM)' $(if $(RULE),--rule $(RULE)) $(if $(JSON),--json)

$(VENV)/.made-peers: $(VENV)/.made
	@echo "installing the libraries that are compared"
	@$(PIP) --editable '.[peers]'
	@touch $@

setup-peers: $(VENV)/.made-peers ## the same with the libraries that are timed beside ours

bench: $(if $(PEERS),setup-peers,setup-conditions) ## measure speed: docs/benchmarks.md (an hour or more), or PEERS=1: docs/peers.md
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m tools bench $(if $(PEERS),--peers) $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

store: setup ## show the stored features (slim-superb store verify|prune)
	@$(CLI) store status

check: setup ## verify the contract of an upstream: make check UPSTREAM=lighthubert_small
	@test -n "$(UPSTREAM)" || { echo "make check: name UPSTREAM=..." >&2; exit 2; }
	@$(CLI) check '$(UPSTREAM)' $(if $(WEIGHTS),--weights '$(WEIGHTS)')

compress: setup ## train by a recipe: make compress RECIPE=house_whisper_fbank [TEACHER=NAME] [DATA=DIR]
	@test -n "$(RECIPE)" || { echo "make compress: name RECIPE=... ('slim-superb list recipes')" >&2; exit 2; }
	@$(CLI) compress '$(RECIPE)' --seed $(SEED) $(if $(TEACHER),--teacher '$(TEACHER)') \
	  $(if $(DATA),--data '$(DATA)') $(if $(HOURS),--hours $(HOURS)) $(if $(DEVICE),--device $(DEVICE))

board: setup ## build the board into site/: make board [RESULTS=runs, to show your own runs too]
	@$(CLI) board $(if $(RESULTS),--runs '$(RESULTS)')

submit: setup ## pack a row for the board: make submit UPSTREAM=ge2e TRACK=open [BY="Your name"]
	@test -n "$(UPSTREAM)" || { echo "make submit: name UPSTREAM=..." >&2; exit 2; }
	@mkdir -p submissions
	@$(CLI) submit '$(UPSTREAM)' --track '$(TRACK)' --runs '$(OUT)' --by '$(BY)' \
	  --out 'submissions/$(UPSTREAM).tar.gz'

costs: setup ## measure the committed costs again, in three precisions (on an idle machine): make costs [ONLY=ge2e]
	@$(BIN)/python -m tools.board_costs '$(ONLY)'

publish: setup ## build the board for a web server: make publish DEST=folder
	@test -n "$(DEST)" || { echo "make publish: name DEST=..." >&2; exit 2; }
	@$(CLI) publish --dest '$(DEST)'

validate-track: setup ## run baselines and controls of a track: make validate-track TRACK=quick (hours)
	@$(BIN)/python -m tools validate-track '$(TRACK)' --out '$(OUT)'

page-speed: setup-dev ## measure the time of interactions on the page: writes docs/page-speed.md
	@PYTHONPATH=tests/helpers $(BIN)/python -m tools.pages.page_speed

board-pictures: setup-dev ## draw the pictures of the board in docs/img from the committed records
	@$(BIN)/python -m tools.board_pictures

recipe-curves: setup-conditions ## draw learning curves of the house family from its committed logs
	@$(BIN)/python -m tools learning-curves upstreams/recipes/logs/*.jsonl --out docs/recipes-curves.svg

docs: setup-conditions ## write every page that is made of the committed records again (two minutes)
	@$(BIN)/python -m tools docs

training-throughput: setup-conditions ## time that a training waits for data, with and without loaders (minutes): docs/training-throughput.md
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m tools training-throughput

statistics: setup ## test intervals and ranks on records and by simulation: writes docs/statistics.md (minutes)
	@$(BIN)/python -m tools statistics-page

heads: setup ## how heads end, and trials of recipes: make heads [UPSTREAMS='house_wave;ge2e' TASKS=ks,sid]
	@$(BIN)/python -m tools heads-page $(if $(UPSTREAMS),--upstreams '$(UPSTREAMS)') $(if $(TASKS),--tasks '$(TASKS)')

dry-runs: setup ## two updates of every published recipe at full size (10 minutes): docs/dry-runs.md
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m tools dry-runs

frame-units: setup ## fit the centres of the control mfcc_units (a minute)
	@$(BIN)/python -m tools frame-units --out upstreams/weights/mfcc_units.safetensors

torture: setup-dev ## kill runs at 40 seeded moments; records must be those of whole runs: docs/torture.md
	@$(BIN)/python -m tools.grids.torture --kills 40 --write docs/torture.md

mutants: setup-dev ## change the numerical core place by place and count what the tests see (hours): docs/mutants.md [SAMPLE=30 of a file]
	@$(PIP) --editable '.[mutants]'
	@# The first run makes the mutants of all files and tests those of the smallest.
	@$(if $(SAMPLE),OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(TEST_WORKERS) 'downstreams.labels.*')
	@$(if $(SAMPLE),$(BIN)/python -m tools mutants-sample --number $(SAMPLE))
	@OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(TEST_WORKERS)
	@$(BIN)/python -m tools mutants-page --out docs/mutants.md

fuzz: setup-dev ## read 100,000 damaged or hostile files: writes docs/fuzz.md
	@PYTHONPATH=tests/helpers $(BIN)/python -m tools.hostile.fuzz --cases 100000 --write docs/fuzz.md

checkpoints: setup-dev ## give 300 generated checkpoints to check, alter 60: docs/checkpoints-generated.md (some minutes)
	@PYTHONPATH=tests/helpers $(BIN)/python -m tools checkpoints

flips: setup-dev ## flip 800 single bits of bundles and run folders: writes docs/flips.md
	@PYTHONPATH=tests/helpers $(BIN)/python -m tools.hostile.flips --cases 400 --write docs/flips.md

tables: setup-dev ## write the committed tables of the embedded corpus by the rules in tools/corpus
	@$(BIN)/python -m tools tables $(if $(DEB_DIR),--deb-dir '$(DEB_DIR)')

threads: setup-conditions ## evaluate with 1, 2 and 4 threads, one record must come out: docs/determinism.md
	@$(BIN)/python -m tools.hostile.threads --write docs/determinism.md

align: setup-dev ## verify every line of the embedded corpus against its sound, and write the tables
	@$(PIP) --editable '.[align]'
	@$(BIN)/python -m tools tables --align $(if $(DEB_DIR),--deb-dir '$(DEB_DIR)')

test: lint type pytest ## run lint, types and all tests, as continuous integration does

pytest: setup-dev ## run all tests except the slow ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

# Both targets build the environment from nothing: pip does not upgrade an installed package.
test-newest: ## run the tests with the newest packages that pyproject.toml allows
	@rm -rf $(NEWEST)
	@$(MAKE) --no-print-directory VENV=$(NEWEST) CONSTRAINTS= pytest

# The version of torch does not change unless TORCH names another: make lock TORCH=torch==2.14.0
lock: ## write constraints.txt again, from the newest packages that pyproject.toml allows
	@rm -rf $(NEWEST)
	@$(MAKE) --no-print-directory VENV=$(NEWEST) CONSTRAINTS= setup-dev
	@$(NEWEST)/bin/python -m pip freeze --all --exclude pip --exclude-editable > $(NEWEST)/versions
	@{ grep '^#' constraints.txt; sed 's/+[a-z0-9.]*$$//' $(NEWEST)/versions | LC_ALL=C sort -f; } > $(NEWEST)/constraints
	@mv $(NEWEST)/constraints constraints.txt

lint: setup-dev ## run ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

type: setup-dev ## run mypy --strict
	@$(BIN)/mypy

golden: setup-dev ## write the golden files of the tests again (review the diff)
	@$(BIN)/python -m pytest -q --golden tests

clean: ## remove the virtual environments and caches (not the corpora)
	@rm -rf $(VENV) $(NEWEST) .mypy_cache .ruff_cache .pytest_cache site
