# Two commands for a bare machine with Python 3.11 or newer: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads that spin while they wait starve each other on a busy machine.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test clean

demo: $(VENV)/.installed
	$(BIN)/python run.py train ner --output runs/demo
	$(BIN)/python run.py tag runs/demo "周五我和王磊去北京大学听讲座。" "Satya Nadella visited Shanghai on Monday."
	$(BIN)/python run.py train cls --output runs/demo-cls
	$(BIN)/python run.py classify runs/demo-cls "快递怎么还没到？" "I want my money back, the shirt is too small."

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python data/ner/compile.py --check
	$(BIN)/python data/cls/compile.py --check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto
# With SIGINT ignored, as a script's `command &` starts it. 143: the exit status after SIGTERM.
	trap '' INT; OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m interrupt -k 'not 143' $$(grep -rl 'mark\.interrupt' --include='test_*.py' tests)
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "numeric and not slow"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plot]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist runs
