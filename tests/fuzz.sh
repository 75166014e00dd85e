#!/usr/bin/env bash
# Runs every fuzz target for SECONDS_EACH (30) seconds, two at a time. Needs a nightly toolchain for the
# coverage instrumentation; where there is none, stable is told to accept it.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-30}
if ! cargo fuzz --version > /dev/null 2>&1; then
  echo "installing cargo-fuzz"
  cargo install cargo-fuzz --locked --quiet
fi
if rustup toolchain list 2> /dev/null | grep -q '^nightly'; then
  toolchain=+nightly
else
  toolchain=
  export RUSTC_BOOTSTRAP=1
fi

targets=$(cargo $toolchain fuzz list)
[[ -n $targets ]] || { echo "tests/fuzz.sh: there is no fuzz target" >&2; exit 1; }
# Several codegen units: one would keep the second core idle for minutes.
units=16
cargo $toolchain fuzz build --codegen-units "$units"
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

run() {
  if cargo "$1" fuzz run --codegen-units "$5" "$2" -- -max_total_time="$3" -max_len=4096 -timeout=10 -rss_limit_mb=2048 > "$4/$2" 2>&1; then
    printf '%s: %s\n' "$2" "$(grep -E '^Done' "$4/$2" || echo 'no summary')"
  else
    printf '%s: FAILED\n' "$2"
    tail -n 60 "$4/$2"
    return 1
  fi
}
export -f run
# shellcheck disable=SC2086  # one target a word
printf '%s\n' $targets | xargs -P 2 -I{} bash -c 'run "$@"' _ "${toolchain:---offline}" {} "$seconds" "$log" "$units"
