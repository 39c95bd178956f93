#!/usr/bin/env bash
# All that has to be seen on a GPU, most important first, in under eight minutes; it installs nothing.
#
#   bash benchmarks/gpu.sh [SECONDS]
#
# Each part has a time of its own and goes on where another fails; what ran is said at the end. SECONDS is the
# time for all (default 480).
set -uo pipefail
cd "$(dirname "$0")/.."
began=$(date +%s)
total=${1:-480}
summary=()

part() { # title, most seconds, command …
  local left=$((total - $(date +%s) + began)) title=$1 most=$2 code=0
  shift 2
  ((most = most < left ? most : left))
  if ((most < 10)); then
    summary+=("$title: no time left")
    return
  fi
  printf '\n== %s\n' "$title"
  timeout --signal=INT --kill-after=10 "$most" "$@" || code=$?
  summary+=("$title: exit code $code after $(($(date +%s) - began)) s")
}

export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || echo "no nvidia-smi here"
python -c "import torch; print('torch', torch.__version__, 'CUDA', torch.version.cuda)"
part "tests that need a GPU" 130 pytest -q -n 8 --no-header -m "gpu and not slow" tests
part "ResNet-18" 180 python benchmarks/network_gpu.py
part "p-spin" 75 python benchmarks/pspin_gpu.py
part "tiny nets" 50 python benchmarks/tiny_nets.py --case card
part "sizes up to N = 1024 against the limit" 45 pytest -q --no-header -m slow tests/validation/test_pspin_device_limit.py
part "the whole suite" 600 pytest -q -n 14 --no-header tests

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
