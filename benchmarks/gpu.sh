#!/usr/bin/env bash
# What a machine with a GPU shows of this build, in under eight minutes: the device, the parity of every operation and
# of whole passes with the CPU's, compute-sanitizer's findings, speed beside Hugging Face's in the same run, and where
# the time goes.
#
#   benchmarks/gpu.sh [BUILD]     BUILD: the build tree of preset cuda, by default build/cuda
#
# Needs the Python packages of `scripts/setup.sh --full`, which the build needs too. Ends with 1 where a check failed;
# goes on to the rest all the same.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/cuda}/bin
python=.deps/venv/bin/python
failed=()

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

# check NAME LIMIT_S COMMAND...
check() {
  local name=$1 limit=$2 rc=0
  shift 2
  say "$name: $*"
  timeout "$limit" "$@" 2>&1 | tail -n 40 || rc=$?
  [ "$rc" -eq 0 ] || { failed+=("$name"); echo "FAILED: $name ended with $rc"; }
}

for program in model_test gpu_step; do
  if [ ! -x "$bin/$program" ]; then
    echo "gpu.sh: there is no $bin/$program; cmake --preset cuda && cmake --build --preset cuda" >&2
    exit 2
  fi
done

say "device"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv || failed+=(device)

check "parity of operations and passes" 120 "$bin/model_test" --gtest_filter='*Cuda*:*Recorded*' --gtest_brief=1

if command -v compute-sanitizer >/dev/null; then
  check "memcheck" 60 compute-sanitizer --error-exitcode 9 "$bin/model_test" --gtest_filter='*/CudaBf16' --gtest_brief=1
  check "racecheck" 60 compute-sanitizer --tool racecheck --error-exitcode 9 "$bin/model_test" \
    --gtest_filter='*AddDropoutNorm/CudaBf16:*CrossEntropy/CudaBf16:*SegmentStarts/CudaBf16' --gtest_brief=1
else
  say "compute-sanitizer is not on this machine: not run"
fi

# Rows that fill the device and fit in 80 GB.
for shape in "256 128" "64 512"; do
  read -r rows seq <<<"$shape"
  check "base, $rows rows of $seq" 60 "$bin/gpu_step" step --rows "$rows" --seq "$seq"
  check "the same, kernel by kernel" 60 "$bin/gpu_step" step --rows "$rows" --seq "$seq" --no-graphs
  check "Hugging Face, compiled, $rows rows of $seq" 120 "$python" benchmarks/gpu_peer.py --rows "$rows" --seq "$seq"
done

check "each operation alone" 60 "$bin/gpu_step" operations --rows 256 --seq 128
if command -v nsys >/dev/null; then
  profile=$(mktemp -d)
  check "profile" 60 nsys profile --stats=true --trace=cuda --cuda-graph-trace=node --force-overwrite=true \
    -o "$profile/step" "$bin/gpu_step" step --rows 256 --seq 128 --steps 10
  rm -rf "$profile"
fi

say "done"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
