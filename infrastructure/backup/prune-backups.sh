#!/usr/bin/env bash
# Removes old base backups and the log that only they need. It removes nothing unless what stays is verified first.
set -euo pipefail
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

if [[ $# -ne 2 || $1 != --keep || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    cat <<'USAGE'
usage: prune-backups.sh --keep COUNT

Keeps the newest COUNT base backups, and all log since the oldest of them: a moment can be restored if it is later than
the end of that one.

  BACKUP_DIRECTORY  the repository
USAGE
    exit 2
fi
count=$2
need_programs flock find
open_repository
lock_repository

list_base_backups
if ((${#labels[@]} <= count)); then
    say "nothing to remove: ${#labels[@]} base backup(s), and $count are to be kept"
    exit
fi
oldest=${labels[-count]}
"$(dirname "${BASH_SOURCE[0]}")/verify-archive.sh" --since "$oldest" || die "what would stay is not in order, so nothing is removed"

for label in "${labels[@]}"; do
    [[ $label < $oldest ]] || break
    # Without its description it is no base backup, even when this is interrupted.
    rm -f "$base/$label/info"
    rm -rf "${base:?}/$label"
    say "removed the base backup $label"
done

first=$(value_of first_segment "$base/$oldest/info")
number_of "$first"
start=$REPLY removed=0
# A segment before its digest, so that a digest that is left over is found again.
for file in "$wal"/*.zst.age "$wal"/*.sha256 "$wal"/*.backup; do
    name=${file##*/}
    is_segment "${name:0:24}" || continue
    number_of "${name:0:24}"
    if ((REPLY < start)); then
        rm -f "$file"
        removed=$((removed + 1))
    fi
done
# What interrupted runs of archive-wal.sh have left.
find "$wal" -name '.new.*' -mmin +1440 -delete
say "removed $removed files of the log from before $first"
