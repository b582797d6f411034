#!/usr/bin/env bash
# Builds the committed sources twice, in two new folders, and fails unless the programs are the same, byte for byte. Takes
# two release builds from nothing, and 4 GB below $TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

build() {
    mkdir -p "$1"
    git archive HEAD | tar -x -C "$1"
    "$1/infrastructure/release/build.sh"
    (cd "$1/target/release" && find . -maxdepth 1 -type f -executable -exec sha256sum {} + | sort) >"$2"
    test -s "$2"
    rm -rf "$1"
}

build "$scratch/first" "$scratch/first.sums"
build "$scratch/another/folder" "$scratch/second.sums"
diff "$scratch/first.sums" "$scratch/second.sums"
cat "$scratch/first.sums"
echo "Both builds gave the same bytes."
