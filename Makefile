# One word for each thing people do here. The work is done by CMake's presets and by scripts/.

.DEFAULT_GOAL := help
.PHONY: help quickstart test setup build tidy format clean

# The jobs of one build; by default the machine's cores.
JOBS ?= $(shell nproc)

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

quickstart: ## set up, build, train a small BERT on English novels and fill a mask (FRESH=1 trains it anew)
	@scripts/quickstart.sh

test: ## set up everything and run every test, with sanitizers too
	@scripts/test.sh

setup: ## install what building needs (`scripts/setup.sh --full`: what testing needs)
	@scripts/setup.sh

build: setup ## build everything into build/release
	@test -f build/release/build.ninja || cmake --preset release
	@cmake --build --preset release -j $(JOBS)

tidy: ## check the mechanical style rules
	@python3 tests/tidy.py

format: ## lay out every C++ file with clang-format
	@find common coordinator worker dataloader bertctl tests benchmarks -name '*.h' -o -name '*.cc' -o -name '*.cu' | \
	  xargs clang-format -i

clean: ## remove what was built (.deps and .quickstart stay)
	@rm -rf build
