VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11
DATA ?= ../shared/data

.PHONY: setup demo test promises proofs check wheel lock licences reference bench known-answers models clean
setup: $(VENV)/.done
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q -c constraints.txt torch && $(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,demo,pdf-mupdf,s3]' && touch $@
demo: setup
	$(BIN)/tamis demo
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal
proofs: setup
	$(BIN)/python -m pytest -m slow --timeout 1800
promises: setup
	$(BIN)/python -m benchmarks.promises
check: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
# The wheel, in dist/.
wheel: setup
	$(BIN)/python -m pip wheel -q --no-deps -w dist .
# Every version with its hashes, from the public index alone, whatever pip is set up to do here. An old pip fetches whole
# wheels, PyTorch's among them, to read their metadata.
lock:
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q -U pip && build/lock/bin/pip install -q pip-tools==7.6.2
	env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null build/lock/bin/pip-compile -q \
	  --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --extra s3 --extra demo -c constraints.txt -o requirements.lock pyproject.toml
licences: setup
	$(BIN)/python -m pipeline.licences
# The reference of commands, settings and reasons, from the code.
reference: setup
	$(BIN)/python -m pipeline.reference
# What docs/benchmarks.md shows, on a folder of labelled pages, texts and crawls: hours. PEER is the Python of an environment
# with datatrove; without it what is measured beside datatrove is left out.
bench: setup
	$(BIN)/python -m benchmarks $(DATA)
	$(BIN)/python -m benchmarks.html_gold $(DATA)
	$(BIN)/python -m benchmarks.pdf_gold $(DATA)/pdf
	$(BIN)/python -m benchmarks.extractor speed $(DATA)
	$(BIN)/python -m benchmarks.extractor hostile
	$(BIN)/python -m benchmarks.extractor mutated $(DATA) --pages 10000
	$(BIN)/python -m benchmarks.extraction loss $(wildcard $(DATA)/crawl/assembled/*.warc.gz)
	$(BIN)/python -m benchmarks.fuzz $(DATA)
	$(BIN)/python -m benchmarks.language $(DATA)/langid/sentences_75_languages.jsonl.gz
	$(BIN)/python -m benchmarks.classifiers speed $(DATA)
	$(BIN)/python -m benchmarks.pii
	$(BIN)/python -m benchmarks.dedup signatures $(DATA) $(if $(PEER),--datatrove $(PEER))
	$(BIN)/python -m benchmarks.dedup near --megabytes 200 $(if $(PEER),--datatrove $(PEER))
	$(BIN)/python -m benchmarks.dedup bloom 1e6
	$(BIN)/python -m benchmarks.tokens speed $(DATA)/perplexity
	$(BIN)/python -m benchmarks.tokens compression $(DATA)/perplexity
	$(BIN)/python -m benchmarks.cpu_training
	$(if $(PEER),$(BIN)/python -m benchmarks.rules $(DATA) --datatrove $(PEER) --megabytes 2 --repeats 3)
	$(if $(PEER),$(BIN)/python -m benchmarks.rules_agreement $(DATA) --datatrove $(PEER))
	$(if $(PEER),$(foreach crawl,$(wildcard $(DATA)/crawl/assembled/*.warc.gz),$(BIN)/python -m benchmarks.extraction speed $(crawl) --datatrove $(PEER) --common;))
	$(MAKE) known-answers
# Whether an ablation finds faults that were put in, on documentation packages of Debian 12: an hour and more.
known-answers: setup
	$(BIN)/python -m benchmarks.corpus tamis-corpus --megabytes 82 --held-out
	$(BIN)/python -m benchmarks.ablation tamis-corpus --out tamis-out/known-answers
# The bundled models again, from the labelled data that their cards name: make models DATA=folder
models: setup
	$(BIN)/python -m benchmarks.train_builtin $(DATA)
clean:
	rm -rf $(VENV) tamis-demo tamis-out
