#!/usr/bin/env bash
# The compiler, called by cargo as RUSTC_WRAPPER: crates that tests/fuzz.sh marked, by their number of codegen units, get the
# coverage counters that libFuzzer steers by. The others are compiled as always, so cargo may take what it has of them.
compiler=$1
shift
for argument in "$@"; do
  if [[ $argument == "codegen-units=$FUZZED_UNITS" ]]; then
    set -- "$@" --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
      -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
      -C llvm-args=-sanitizer-coverage-trace-compares -C debug-assertions=on
    break
  fi
done
exec "$compiler" "$@"
