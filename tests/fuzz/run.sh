#!/bin/sh
# Builds a fuzz target with the coverage that libFuzzer steers by, and runs it: ./run.sh TARGET [OPTION OF LIBFUZZER ...]
# It needs a C++ compiler. With `-max_total_time=60` it ends after a minute, else at the first input that fails.
set -eu
cd "$(dirname "$0")"
target=$1
shift
flags="-C passes=sancov-module -C codegen-units=1 -C debug-assertions=on -C overflow-checks=on"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -C llvm-args=-sanitizer-coverage-$option"
done
# The versions that the product is built of. Cargo leaves out what is not needed here, and adds libFuzzer.
cp ../../Cargo.lock Cargo.lock
# a target of its own: build scripts and macros of the host are not instrumented
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$flags" cargo build --release --target "$host" --bin "$target"
mkdir -p "corpus/$target"
exec "${CARGO_TARGET_DIR:-target}/$host/release/$target" "corpus/$target" "$@"
