# make sim      the whole chain: train, compress, compile, load, run on the simulated engine, Table VI
# make test     everything that proves the parts; make test-whole, what proves the whole
# make help     the other targets

# Options count only on the command line: an exported COLUMNS is the width of a terminal, an exported
# PORT another program's.  What is given here does not reach the programs as variables either.
OPTIONS := BITS BOARD COLUMNS CYCLES COUNT DOOR ENGINE FRAMES INJECTIONS KEEP LOADS MAPS MHZ MODULES NAMES PICTURES PORT ROWS \
	SEED SEEDS SEGMENTS STAGES TOOLCHAIN UART_FRAMES WAVES WEIGHTS
given = $(if $(filter command,$(origin $1)),$($1))
unexport $(foreach name,$(OPTIONS),$(if $(call given,$(name)),$(name)))

# An argument of the shell, whatever is in it; --OPTION with the value of NAME; --OPTION unless it is 0.
quoted = '$(subst ','\'',$1)'
option = $(if $(call given,$1),--$2 $(call quoted,$($1)))
flag = $(if $(filter-out 0,$(call given,$1)),--$2)
names = $(foreach name,$(call given,NAMES),$(call quoted,$(name)))
sizes = $(call option,STAGES,stages) $(call option,COLUMNS,columns) $(call option,SEGMENTS,segments)

PYTHON := python3
VENV := .venv
# Rules need spaces of a path escaped, the shell needs them quoted.
space := $(subst ,, )
ENVIRONMENT := $(subst $(space),\$(space),$(VENV))
READY := $(ENVIRONMENT)/.ready
RUN := $(call quoted,$(VENV)/bin/python)

# Threads that wait must not spin: simulators are built beside the training.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help setup setup-synthesis sim networks arrays baselines faults test test-whole test-long resources fmax lint types check test-the-tests clean \
	bitstream doctor soak formal mutants bench-quantizer certify-quantizer docs evidence results

help:
	@echo "make sim [STAGES=8 COLUMNS=16 SEGMENTS=2] [MAPS='maps?clusters=2'] [SEED=0] [PICTURES=360] [WAVES=1] [WEIGHTS=FILE.safetensors]"
	@echo "               train, compress, compile, load and run on the simulated engine; Table VI"
	@echo "make test      unit tests and cocotb benches"
	@echo "make test-whole   whole programs: installations, trainings, simulated boards, builds, the pages' commands"
	@echo "make test-long   its long ones: benches at full length, whole netlists beside the RTL, the pages' commands, synthesis"
	@echo "make networks [NAMES=…] [PICTURES=N] [BITS=4] [SEED=0] [MAPS='maps?clusters=4']"
	@echo "               networks of MLPerf Tiny and of the paper on the map engine, every value of every layer;"
	@echo "               needs their data (DPNET_DATA, DPNET_WEIGHTS); build/networks.json, networks.html; goes on after Ctrl-C"
	@echo "make arrays [NAMES=…] [SEED=0]"
	@echo "               arrays that fill an XC7Z045, and map engines with whole networks (DPNET_DATA, DPNET_WEIGHTS), at full size, every result; build/arrays.json"
	@echo "make baselines [SEED=0]   the arrays beside the paper's, an interleaved and a dense int8 engine"
	@echo "make faults [NAMES=…] [SEED=0] [INJECTIONS=N] [CYCLES=N]"
	@echo "               bits turned over in stores and adders of a running engine; build/faults.json"
	@echo "make resources [NAMES=…] [MODULES=1]"
	@echo "               what the engines take of the XC7Z045 (Yosys), module by module; build/resources.json"
	@echo "make fmax [NAMES=…] [SEED=1] [SEEDS=1]"
	@echo "               the clock they reach on an ECP5 (Yosys, nextpnr), and what limits it; build/fmax.json"
	@echo "make setup-synthesis   adds Yosys and nextpnr to .venv (make setup has them too)"
	@echo "make test-the-tests   plant faults and show that the tests turn red"
	@echo "make mutants [NAMES='lane column'] [COUNT=1000] [SEED=1]"
	@echo "               a bit of the netlist changed, a thousand times a block: do the benches notice; goes on after Ctrl-C"
	@echo "make soak [SEED=0] [FRAMES=1e7] [UART_FRAMES=1e5] [LOADS=1e4]"
	@echo "               the link under damage, power cuts and slow lines; build/soak.json; goes on after Ctrl-C"
	@echo "make formal [NAMES=…]   control blocks proved by k-induction, planted bugs caught; build/formal.json"
	@echo "make bench-quantizer [SEED=0]   the exact quantizer beside ckwrap, kmeans1d, scikit-learn, jenkspy;"
	@echo "               build/bench/quantizer.json"
	@echo "make certify-quantizer [SEED=0] [ROWS=100000]   its results against a judge of its own"
	@echo "make doctor [PORT=URL]    what is missing on this machine, with the cure"
	@echo "make setup [VENV=.venv] [PYTHON=python3]   all packages that make sim and make test need"
	@echo "make docs      this documentation as a site with an API reference: build/site/index.html"
	@echo "make results   the tables of docs/experiments.md anew, from the rows of dpnet experiment"
	@echo "make evidence [KEEP=1]   which committed results are older than their sources; keep those measured anew"
	@echo "make lint      ruff, and the format;   make types   mypy on boards, model, host, sim"
	@echo "make check     lint, types, test"
	@echo "make bitstream BOARD=ulx3s|zc706|arty-a7-35t [TOOLCHAIN=…] [DOOR=…] [MHZ=…] [SEED=1]"
	@echo "               [STAGES=… COLUMNS=… SEGMENTS=… | ENGINE=maps | ENGINE='maps?clusters=4&stages=4']"
	@echo "               an engine for a board; build/BOARD/.  ulx3s ends with a bitstream by tools from PyPI alone"
	@echo "make clean     remove build/ (trained networks and built simulators too)"

INSTALL = PYTHONWARNINGS=ignore $(RUN) -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt

$(ENVIRONMENT)/bin/python:
	@echo "setting up "$(call quoted,$(VENV))" (once)"
	@$(call quoted,$(PYTHON)) -c \
	  'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] \
	  + "; give another one: make PYTHON=/path/to/python3") if sys.version_info < (3, 11) else 0'
	@$(call quoted,$(PYTHON)) -m venv $(call quoted,$(VENV))

$(READY): pyproject.toml constraints.txt | $(ENVIRONMENT)/bin/python
	@echo "installing the packages of pyproject.toml into "$(call quoted,$(VENV))
	@$(INSTALL) --editable '.[all,test]'
	@touch $(call quoted,$(VENV)/.ready)

setup: $(READY)

# make setup has them too; this adds them to a .venv that was set up for something else.
setup-synthesis: | $(ENVIRONMENT)/bin/python
	@echo "adding Yosys and nextpnr (47 MB) to "$(call quoted,$(VENV))
	@$(INSTALL) --editable '.[boards]'

sim: $(READY)
	@$(RUN) -m dpnet.sim $(sizes) $(call option,MAPS,maps) $(call option,SEED,seed) $(call option,PICTURES,pictures) \
	  $(call option,WEIGHTS,weights) $(call flag,WAVES,waves)

test: $(READY)
	@$(RUN) -m pytest -n 2 --dist worksteal

test-whole: $(READY)
	@$(RUN) -m pytest -n 2 --dist worksteal -m 'whole and not long'

test-long: $(READY)
	@DPNET_THOROUGH=1 $(RUN) -m pytest -n 2 --dist worksteal -m 'long or bench'

networks: $(READY)
	@$(RUN) -m dpnet.sim.measure.networks $(names) $(call option,PICTURES,pictures) $(call option,BITS,bits) \
	  $(call option,SEED,seed) $(call option,MAPS,maps)

arrays: $(READY)
	@$(RUN) -m dpnet.sim.measure.arrays $(names) $(call option,SEED,seed)

baselines: $(READY)
	@$(RUN) -m dpnet.sim.measure.baselines $(call option,SEED,seed)

faults: $(READY)
	@$(RUN) -m dpnet.sim.measure.faults $(names) $(call option,SEED,seed) \
	  $(call option,INJECTIONS,injections) $(call option,CYCLES,cycles)

resources: $(READY)
	@$(RUN) -m dpnet.boards.resources $(names) $(call flag,MODULES,modules)

fmax: $(READY)
	@$(RUN) -m dpnet.boards.fmax $(names) $(call option,SEED,seed) $(call option,SEEDS,seeds)

bench-quantizer: $(READY)
	@$(INSTALL) --editable '.[bench]'
	@$(RUN) -m dpnet.model.quantizer.judges.bench $(call option,SEED,seed)

certify-quantizer: $(READY)
	@$(RUN) -m dpnet.model.quantizer.judges.certify $(call option,SEED,seed) $(call option,ROWS,rows)

formal: $(READY)
	@$(RUN) -m dpnet.sim.formal $(names)

soak: $(READY)
	@$(RUN) -m dpnet.sim.soak $(call option,SEED,seed) $(call option,FRAMES,frames) \
	  $(call option,UART_FRAMES,uart-frames) $(call option,LOADS,loads)

mutants: $(READY)
	@$(RUN) -m dpnet.sim.mutants $(names) $(call option,COUNT,count) $(call option,SEED,seed)

doctor: $(READY)
	@$(RUN) -m dpnet.host.start doctor $(call option,PORT,port)

lint: $(READY)
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check --quiet .

types: $(READY)
	@$(RUN) -m mypy dpnet/*.py dpnet/boards dpnet/model dpnet/host dpnet/sim

check: lint types test

test-the-tests: $(READY)
	@$(RUN) tests/plant_faults.py

bitstream: $(READY)
	@$(RUN) -m dpnet.boards.bitstream $(call quoted,$(or $(call given,BOARD),zc706)) $(call option,TOOLCHAIN,toolchain) \
	  $(call option,DOOR,door) $(call option,MHZ,mhz) $(call option,SEED,seed) $(sizes) $(call option,ENGINE,engine)

docs: | $(ENVIRONMENT)/bin/python
	@$(INSTALL) --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "build/site/index.html; with search: python3 -m http.server --directory build/site"

# Which committed results are older than their sources; KEEP=1 copies those that were measured anew.
evidence: $(READY)
	@$(RUN) -m dpnet.model.evidence $(call flag,KEEP,keep)

# The tables of docs/experiments.md from the committed rows.
results: $(READY)
	@$(RUN) -m dpnet.model.experiments.results.page

clean:
	rm -rf build
