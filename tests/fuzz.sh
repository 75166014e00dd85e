#!/usr/bin/env bash
# Runs every fuzz target, or those named, for SECONDS_EACH (30) seconds, two at a time.
#
# Only the crates that take hostile bytes apart are compiled for it, with coverage counters; the rest is what `make build-tests` built.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-30}
instrumented=(firstlight firstlight-fuzz dhcproto hickory-proto minijinja toml_parser serde_norway)
# A number that nothing else has: another setting is another artifact, beside the one without counters.
export FUZZED_UNITS=15 RUSTC_WRAPPER=$PWD/tests/instrument.sh
marks=()
for package in "${instrumented[@]}"; do
  marks+=(--config "profile.release.package.$package.codegen-units=$FUZZED_UNITS" --config "profile.release.package.$package.opt-level=1")
done
cargo build --release --locked --package firstlight-fuzz --bins "${marks[@]}"

out=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

run() {
  local corpus=fuzz/corpus/$1 artifacts=fuzz/artifacts/$1/ counters ran
  mkdir -p "$corpus" "$artifacts"
  if "$4/fuzz-$1" "$corpus" -artifact_prefix="$artifacts" -max_total_time="$2" -max_len=4096 -timeout=10 -rss_limit_mb=2048 > "$3/$1" 2>&1 \
    && counters=$(grep -oE '[0-9]+ inline 8-bit counters' "$3/$1") && ran=$(grep '^Done' "$3/$1"); then
    printf '%s: %s, %s\n' "$1" "$ran" "$counters"
  else
    printf '%s: FAILED\n' "$1"
    tail -n 60 "$3/$1"
    return 1
  fi
}
export -f run
if [[ $# == 0 ]]; then
  set -- fuzz/fuzz_targets/*.rs
fi
printf '%s\n' "$@" | xargs -n 1 basename -s .rs | xargs -P 2 -I{} bash -c 'run "$@"' _ {} "$seconds" "$log" "$out"
