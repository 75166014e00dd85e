#!/usr/bin/env bash
# Runs test programs, two at a time, and prints what each said when it ends. The longest are best named first.
#
#   side-by-side.sh 'TEST ARGUMENTS' NAME...
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=${1:?usage: side-by-side.sh 'TEST ARGUMENTS' NAME...}
shift
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

run() {
  local started=$SECONDS how=ok
  # shellcheck disable=SC2086  # one argument a word
  "${CARGO:-cargo}" test --release --locked --test "$1" -- $2 > "$3/$1" 2>&1 || how=FAILED
  cat "$3/$1"
  printf '%s: %s after %d s\n' "$1" "$how" $((SECONDS - started))
  [[ $how == ok ]]
}
export -f run
printf '%s\n' "$@" | xargs -P ${LANES:-2} -I{} bash -c 'run "$@"' _ {} "$arguments" "$log"
