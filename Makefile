# make sim      the whole chain: train, compress, compile, load, run on the simulated engine, Table VI
# make test     everything that proves the parts
# make help     the other targets

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Sizes of the array on the command line: make sim STAGES=8 COLUMNS=16 SEGMENTS=2
SIM_OPTIONS = $(if $(STAGES),--stages $(STAGES)) $(if $(COLUMNS),--columns $(COLUMNS)) \
	$(if $(SEGMENTS),--segments $(SEGMENTS)) $(if $(SEED),--seed $(SEED)) \
	$(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(filter-out 0,$(WAVES)),--waves)

BITSTREAM_OPTIONS = $(if $(TOOLCHAIN),--toolchain $(TOOLCHAIN)) $(if $(DOOR),--door $(DOOR)) \
	$(if $(MHZ),--mhz $(MHZ)) $(if $(SEED),--seed $(SEED)) $(if $(STAGES),--stages $(STAGES)) \
	$(if $(COLUMNS),--columns $(COLUMNS)) $(if $(SEGMENTS),--segments $(SEGMENTS))

# Threads that wait must not spin: simulators are built beside the training.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help setup setup-synthesis sim arrays baselines faults test resources fmax lint types check test-the-tests clean \
	bitstream doctor soak formal bench-quantizer certify-quantizer

help:
	@echo "make sim [STAGES=8 COLUMNS=16 SEGMENTS=2] [SEED=0] [WAVES=1] [WEIGHTS=FILE.safetensors]"
	@echo "               train, compress, compile, load and run on the simulated engine; Table VI"
	@echo "make test      unit tests, cocotb benches, system test"
	@echo "make arrays [NAMES=…] [SEED=0]"
	@echo "               arrays that fill an XC7Z045, simulated at full size, every result; build/arrays.json"
	@echo "make baselines [SEED=0]   the arrays beside the paper's, an interleaved and a dense int8 engine"
	@echo "make faults [SEED=0]"
	@echo "               bits turned over in stores and adders of a running engine; build/faults.json"
	@echo "make resources [NAMES=…] [MODULES=1]"
	@echo "               what the engines take of the XC7Z045 (Yosys), module by module; build/resources.json"
	@echo "make fmax [NAMES=…] [SEED=1] [SEEDS=1]"
	@echo "               the clock they reach on an ECP5 (Yosys, nextpnr), and what limits it; build/fmax.json"
	@echo "make setup-synthesis   adds Yosys and nextpnr to .venv (make setup has them too)"
	@echo "make test-the-tests   plant faults and show that the tests turn red"
	@echo "make soak [SEED=0] [FRAMES=1e7] [UART_FRAMES=1e5] [LOADS=1e4]"
	@echo "               the link under damage, power cuts and slow lines; build/soak.json; goes on after Ctrl-C"
	@echo "make formal [NAMES=…]   control blocks proved by k-induction, planted bugs caught; build/formal.json"
	@echo "make bench-quantizer [SEED=0]   the exact quantizer beside ckwrap, kmeans1d, scikit-learn, jenkspy;"
	@echo "               build/bench/quantizer.json"
	@echo "make certify-quantizer [SEED=0] [ROWS=100000]   its results against a judge of its own"
	@echo "make doctor [PORT=URL]    what is missing on this machine, with the cure"
	@echo "make docs      this documentation as a site with an API reference: build/site/index.html"
	@echo "make lint      ruff;   make types   mypy on boards, model, host, sim"
	@echo "make bitstream BOARD=ulx3s|zc706|arty-a7-35t [TOOLCHAIN=…] [DOOR=…] [MHZ=…] [SEED=1] [STAGES=… COLUMNS=… SEGMENTS=…]"
	@echo "               an engine for a board; build/BOARD/.  ulx3s ends with a bitstream by tools from PyPI alone"
	@echo "make clean     remove build/ (trained networks and built simulators too)"

INSTALL = PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --editable

$(BIN)/python:
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -c \
	  'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] \
	  + "; give another one: make PYTHON=/path/to/python3") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the packages of pyproject.toml into $(VENV)"
	@$(INSTALL) '.[sim,test]'
	@touch $(READY)

setup: $(READY)

# make setup has them too; this adds them to a .venv that was set up for something else.
setup-synthesis: | $(BIN)/python
	@echo "adding Yosys and nextpnr (47 MB) to $(VENV)"
	@$(INSTALL) '.[synthesis]'

sim: $(READY)
	@$(BIN)/python -m dpnet.sim $(SIM_OPTIONS)

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist worksteal

arrays: $(READY)
	@$(BIN)/python -m dpnet.sim.measure.arrays $(NAMES) $(if $(SEED),--seed $(SEED))

baselines: $(READY)
	@$(BIN)/python -m dpnet.sim.measure.baselines $(if $(SEED),--seed $(SEED))

faults: $(READY)
	@$(BIN)/python -m dpnet.sim.measure.faults $(NAMES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(INJECTIONS),--injections $(INJECTIONS)) $(if $(CYCLES),--cycles $(CYCLES))

resources: $(READY)
	@$(BIN)/python -m dpnet.boards.resources $(NAMES) $(if $(filter-out 0,$(MODULES)),--modules)

fmax: $(READY)
	@$(BIN)/python -m dpnet.boards.fmax $(NAMES) $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS))

bench-quantizer: $(READY)
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt ckwrap jenkspy kmeans1d
	@$(BIN)/python -m dpnet.model.quantizer.judges.bench $(if $(SEED),--seed $(SEED))

certify-quantizer: $(READY)
	@$(BIN)/python -m dpnet.model.quantizer.judges.certify $(if $(SEED),--seed $(SEED)) $(if $(ROWS),--rows $(ROWS))

formal: $(READY)
	@$(BIN)/python -m dpnet.sim.formal $(NAMES)

soak: $(READY)
	@$(BIN)/python -m dpnet.sim.soak $(if $(SEED),--seed $(SEED)) $(if $(FRAMES),--frames $(FRAMES)) \
	  $(if $(UART_FRAMES),--uart-frames $(UART_FRAMES)) $(if $(LOADS),--loads $(LOADS))

doctor: $(READY)
	@$(BIN)/dpnet doctor $(if $(PORT),--port $(PORT))

lint: $(READY)
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy dpnet/boards dpnet/model dpnet/host dpnet/sim

check: lint types test

test-the-tests: $(READY)
	@$(BIN)/python tests/plant_faults.py

bitstream: $(READY)
	@$(BIN)/python -m dpnet.boards.bitstream $(or $(BOARD),zc706) $(BITSTREAM_OPTIONS)

clean:
	rm -rf build
