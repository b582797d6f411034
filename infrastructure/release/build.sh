#!/bin/sh
# Compiles the services for release, so that the same sources, Rust and C compiler give the same bytes in any folder and for
# any user. compare-builds.sh beside this shows that it is so. Arguments go to cargo.
#
# Deliberately absent: Cargo's own `trim-paths`, which Rust 1.95 does not have yet, and C's paths it would not know.
set -eu
cd "$(dirname "$0")/../.."
sources=$(pwd -P)
crates=${CARGO_HOME:-$HOME/.cargo}

# Both compilers write paths into programs: where a panic is, and the tables of lines.
export RUSTFLAGS="--remap-path-prefix=$sources=/flowlet --remap-path-prefix=$crates=/cargo"
export CFLAGS="-ffile-prefix-map=$sources=/flowlet -ffile-prefix-map=$crates=/cargo"
# The C compiler's clock: mimalloc says when it was compiled.
export SOURCE_DATE_EPOCH=0

exec cargo build --release --locked --workspace --exclude platform "$@"
