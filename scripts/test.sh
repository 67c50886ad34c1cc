#!/usr/bin/env bash
# `make test`: every check there is, ending with the tests of the release build. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
summary=()

say() { printf '\n[test] %s\n' "$*"; }

# Configures and builds a preset: build PRESET [TARGET...]
build() {
  local preset=$1 start=$SECONDS
  shift
  say "$preset: build"
  cmake --preset "$preset" >"build/$preset-configure.log" 2>&1 ||
    { tail -30 "build/$preset-configure.log"; echo "the whole log is build/$preset-configure.log"; exit 1; }
  cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
  summary+=("$preset: built in $((SECONDS - start)) s")
}

# Runs a preset's tests and keeps ctest's closing lines.
run_tests() {
  local preset=$1 log=build/$1-tests.log
  say "$preset: tests"
  ctest --preset "$preset" -j "$jobs" 2>&1 | tee "$log"
  summary+=("$preset: $(grep 'tests passed' "$log"), $(grep 'Total Test time' "$log")")
}

scripts/setup.sh --full
mkdir -p build

say "protos: buf lint"
(cd proto && ../.deps/venv/bin/buf lint)
summary+=("protos: buf lint passed")

build release

# Everything without Torch, whose own allocator and threads drown the sanitizers' reports.
for preset in asan tsan; do
  build "$preset"
  run_tests "$preset"
done

export PATH="$PATH:/usr/local/cuda/bin"
if command -v nvcc >/dev/null; then
  # What the CUDA option changes; the rest is the same as in the release build.
  build cuda bert-trainer bert-model gpu_step
else
  say "cuda: not built, as there is no nvcc on this machine"
  summary+=("cuda: not built, no nvcc here")
fi

say "summary so far"
printf '  %s\n' "${summary[@]}"
run_tests release
