#!/usr/bin/env bash
# Brings one file of the log back: PostgreSQL's restore_command, which restore-backup.sh sets. PostgreSQL takes the exit
# status 1 for the end of the log and starts; anything above 125 stops the recovery. So 1 is said in one place only, and
# whatever else goes wrong, a gap above all, is 200.
set -euo pipefail
status=200
trap 'exit "$status"' EXIT
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

if [[ $# -ne 2 ]]; then
    cat <<'USAGE'
usage: restore_command = '/…/fetch-wal.sh "%f" "%p"'

  BACKUP_DIRECTORY      the repository
  BACKUP_IDENTITY_FILE  the private key (or keys) of age
USAGE
    exit
fi
name=$1 destination=$2
need_programs age zstd sha256sum
open_repository

refuse_a_gap() {
    local file later
    is_segment "$name" || return 0
    for file in "$wal/${name:0:8}"*.zst.age; do
        later=${file##*/}
        later=${later:0:24}
        [[ ! $later > $name ]] || die "a gap: the archive has $later and not $name"
    done
}

file=$wal/$name.zst.age
case $name in
    *.history) file=$wal/$name ;;
esac
if [[ ! -e $file ]]; then
    refuse_a_gap
    status=1
    exit
fi
if [[ $name == *.history ]]; then
    cp "$file" "$destination"
else
    need_file BACKUP_IDENTITY_FILE
    age --decrypt --identity "$BACKUP_IDENTITY_FILE" "$file" | zstd --quiet --decompress --stdout >"$destination" ||
        die "$name cannot be decrypted: is it damaged, or the key another one?"
    digest=$(sha256sum <"$destination")
    [[ ${digest%% *} == "$(<"$wal/$name.sha256")" ]] || die "$name is not what was archived"
fi
status=0
