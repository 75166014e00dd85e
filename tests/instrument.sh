#!/usr/bin/env bash
# The compiler, called by cargo as RUSTC_WRAPPER: crates that tests/fuzz.sh marked, by their number of codegen units, get the
# coverage counters that libFuzzer steers by and the shared C runtime that it needs, and are optimised one unit at a time, which is
# quicker. The others are compiled as always, so cargo may take what it has of them.
set -euo pipefail

compiler=$1
shift
# What runs within the compiler has no target, and no fuzzer.
if [[ " $* " == *" codegen-units=$FUZZED_UNITS "* && " $* " == *" --target "* ]]; then
  coverage=-sanitizer-coverage
  set -- "${@/#target-feature=+crt-static/target-feature=-crt-static}" --cfg fuzzing -C lto=off -C debug-assertions=on \
    -C passes=sancov-module -C llvm-args="$coverage-level=4" -C llvm-args="$coverage-inline-8bit-counters" \
    -C llvm-args="$coverage-pc-table" -C llvm-args="$coverage-trace-compares"
fi
exec "$compiler" "$@"
