#!/usr/bin/env bash
# Proves subkern on this machine's GPU: builds it, runs the doctor, every test that touches the GPU,
# the benchmarks, and small calls of every op under compute-sanitizer. Writes one JSON and one
# Markdown file named after the device. Needs no network and takes at most eight minutes.
#
#   bench/gpu.sh [--seconds N] [OUTDIR]        defaults: 480, bench/results
#
# The build is `pip install -e . --no-build-isolation --no-deps` into the environment of $PYTHON
# (python3), which must have torch, triton, numpy, pybind11, cmake, ninja, setuptools, pytest and
# hypothesis. The parts run in the order of their worth, each under a time limit; one that fails does
# not stop the others. SUBKERN_COMMIT names the commit of a copy without .git.
#
# Exit status: 0 all parts passed, 1 a part failed (the files are written all the same), 2 no GPU.
# A budget that is missed is reported, not a failure.
set -uo pipefail

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"; }

seconds=480
while [[ ${1-} == -* ]]; do
    case $1 in
        --seconds) seconds=${2-}; shift $(($# > 1 ? 2 : 1)) ;;
        -h | --help) usage; exit 0 ;;
        *) echo "bench/gpu.sh: unknown option $1" >&2; exit 2 ;;
    esac
done
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
    echo "bench/gpu.sh: --seconds must be a whole number, got '$seconds'" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 2
python=${PYTHON:-python3}

find_gpu='
try:
    import torch
except ImportError:
    raise SystemExit("torch is not installed")
if torch.version.cuda is None:
    raise SystemExit(f"torch {torch.__version__} is a build without CUDA")
if not torch.cuda.is_available():
    raise SystemExit("torch.cuda finds none")
'
if ! reason=$("$python" -c "$find_gpu" 2>&1); then
    echo "bench/gpu.sh: no GPU: ${reason##*$'\n'}" >&2
    exit 2
fi

out=${1:-$root/bench/results}
if ! mkdir -p "$out" || ! out=$(cd "$out" && pwd); then
    echo "bench/gpu.sh: cannot make the folder $out" >&2
    exit 1
fi
cd "$root" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
began=$SECONDS
left() { echo $((seconds - (SECONDS - began))); }

# part NAME LIMIT COMMAND...: run a command for at most LIMIT seconds, note how it went.
part() {
    local name=$1 limit=$2 start=$SECONDS code
    shift 2
    echo "== $name (at most $limit s): $*"
    printf '%s\n' "$*" >"$work/$name.cmd"
    if ((limit < 5)); then
        echo "no time left" >"$work/$name.log"
        code=skipped
    else
        timeout -s INT -k 10 "$limit" "$@" >"$work/$name.log" 2>&1
        code=$?
    fi
    printf '%s\n' "$code" >"$work/$name.rc"
    printf '%s\n' "$((SECONDS - start))" >"$work/$name.seconds"
    tail -n 3 "$work/$name.log"
}

# at_most A B: the smaller number.
at_most() { echo $(($1 < $2 ? $1 : $2)); }

nvidia-smi -q >"$work/device.txt" 2>&1
nvidia-smi --query-gpu=name --format=csv,noheader >"$work/name.txt" 2>/dev/null

MAX_JOBS=${MAX_JOBS:-$(nproc)}
export MAX_JOBS
part build "$(at_most 180 "$(left)")" \
    "$python" -m pip --disable-pip-version-check install -e . --no-build-isolation --no-deps
part doctor "$(at_most 60 "$(left)")" "$python" -m subkern doctor --json

workers=()
if "$python" -c 'import xdist' 2>/dev/null; then workers=(-n "$(at_most 16 "$(nproc)")"); fi
places=()
for place in tests/test_doctor.py tests/ops tests/optim tests/triton tests/cuda tests/bench; do
    [[ -e $place ]] && places+=("$place")
done
part tests "$(at_most 200 $(($(left) - 60)))" \
    "$python" -m pytest -q -m gpu -p no:cacheprovider --continue-on-collection-errors \
    --junitxml="$work/tests.xml" "${workers[@]}" "${places[@]}"

# The share of what comes after is kept free; a case under way may overrun the budget.
room=$(($(left) - 110))
part bench "$((room + 20))" "$python" -m subkern bench --device cuda \
    --budget "$((room > 1 ? room : 1))" --json "$work/bench.json" --csv "$work/bench.csv"

# The first run fills Triton's cache, so that the sanitizer watches kernels rather than compilers.
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
part small "$(at_most 60 $(($(left) - 50)))" "$python" bench/small_calls.py --device cuda
for tool in memcheck racecheck; do
    # Without the caching allocator each tensor has bounds of its own.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 part "$tool" "$(at_most 60 $(($(left) - 15)))" \
        "$sanitizer" --tool "$tool" --error-exitcode 9 "$python" bench/small_calls.py --device cuda
done

"$python" -m subkern.bench.hardware "$work" "$out"
