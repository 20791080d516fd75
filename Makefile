VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11

.PHONY: setup demo test proofs check bench clean
setup: $(VENV)/.done
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q -c constraints.txt torch && $(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,demo,pdf-mupdf,s3]' && touch $@
demo: setup
	$(BIN)/tamis demo
test: setup
	$(BIN)/python -m pytest
proofs: setup
	$(BIN)/python -m pytest -m slow --timeout 1800
check: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
bench: setup
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.pdf_gold
clean:
	rm -rf $(VENV) tamis-demo tamis-out
