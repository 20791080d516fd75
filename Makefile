VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11

.PHONY: setup demo test promises proofs check reference bench models clean
setup: $(VENV)/.done
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q -c constraints.txt torch && $(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,demo,pdf-mupdf,s3]' && touch $@
demo: setup
	$(BIN)/tamis demo
test: setup
	$(BIN)/python -m pytest
proofs: setup
	$(BIN)/python -m pytest -m slow --timeout 1800
promises: setup
	$(BIN)/python -m benchmarks.promises
check: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
# The reference of commands, settings and reasons, from the code.
reference: setup
	$(BIN)/python -m pipeline.reference
bench: setup
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.html_gold ../shared/data
	$(BIN)/python -m benchmarks.pdf_gold
# The bundled models again, from the labelled data that their cards name: make models DATA=folder
models: setup
	$(BIN)/python -m benchmarks.train_builtin $(DATA)
clean:
	rm -rf $(VENV) tamis-demo tamis-out
