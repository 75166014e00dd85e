#!/usr/bin/env bash
# Runs test programs, two at a time, and prints what each said when it ends. The longest are best named first.
#
#   side-by-side.sh 'TEST ARGUMENTS' NAME... ['TEST ARGUMENTS' NAME...]...
set -euo pipefail
cd "$(dirname "$0")/.."

[[ ${1:-} == -* && $# -ge 2 ]] || { echo "usage: side-by-side.sh 'TEST ARGUMENTS' NAME..." >&2; exit 2; }
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

pairs=()
for word in "$@"; do
  if [[ $word == -* ]]; then
    arguments=$word
  else
    pairs+=("$word" "$arguments")
  fi
done
printf '%s\0' "${pairs[@]}" | xargs -0 -n 2 -P "${LANES:-2}" bash -c 'run "$2" "$3" "$1"' _ "$log"
