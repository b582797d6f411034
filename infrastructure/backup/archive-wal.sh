#!/usr/bin/env bash
# Puts one finished file of PostgreSQL's log into the repository: its archive_command. PostgreSQL removes the file when
# this succeeds, so it succeeds only when a crash can no longer lose the copy; until then PostgreSQL tries again.
set -euo pipefail
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

if [[ $# -ne 2 ]]; then
    cat <<'USAGE'
usage: archive_command = '/…/archive-wal.sh "%p" "%f"'      archive_mode = on      archive_timeout = 60

  BACKUP_DIRECTORY          the repository
  BACKUP_RECIPIENTS_FILE    public keys of age, one a line: who can read the backups
  BACKUP_METRICS_DIRECTORY  (optional) where node_exporter's textfile collector looks

Archiving the same file again succeeds; another file under a name that is taken is refused, and nothing is overwritten.
USAGE
    exit 2
fi
path=$1 name=$2
need_programs age zstd sha256sum od sync
need_file BACKUP_RECIPIENTS_FILE
open_repository
[[ -f $path ]] || die "there is no file $path"

# A file is written under another name first; `ln` then gives it its own, and fails where that is taken.
new=$(mktemp "$wal/.new.XXXXXXXX")
trap 'rm -f "$new"' EXIT
settle() {
    sync "$new"
    ln "$new" "$1" 2>/dev/null || [[ -e $1 ]] || die "cannot make $1: has the file system hard links?"
    sync "$wal"
}

archive_segment() {
    local size owner digest
    if is_segment "$name"; then
        size=$(stat --format %s "$path")
        [[ $size -eq $segment_bytes ]] || die "$name has $size bytes, a segment of this cluster has $segment_bytes"
    fi
    # The first page of a segment says which cluster wrote it.
    owner=$(od --address-radix n --format u8 --skip-bytes 24 --read-bytes 8 "$path")
    [[ ${owner// /} == "$system_identifier" ]] ||
        die "$name is of the cluster ${owner// /}, the repository is that of $system_identifier: give each its own"

    digest=$(sha256sum <"$path")
    digest=${digest%% *}
    printf '%s\n' "$digest" >"$new"
    settle "$wal/$name.sha256"
    [[ $(<"$wal/$name.sha256") == "$digest" ]] ||
        die "$name is in the archive with another content: do two servers archive to $BACKUP_DIRECTORY?"

    if [[ ! -e $wal/$name.zst.age ]]; then
        # A file of its own, because the claim is now another name of the first one.
        rm -f "$new"
        zstd --quiet --stdout <"$path" | age --encrypt --recipients-file "$BACKUP_RECIPIENTS_FILE" >"$new"
        settle "$wal/$name.zst.age"
    fi
}

case $name in
    *.history | *.backup)
        [[ $name =~ ^[0-9A-F]{8}\.history$|^[0-9A-F]{24}\.[0-9A-F]{8}\.backup$ ]] || die "$name is no file of the log"
        cat "$path" >"$new"
        settle "$wal/$name"
        cmp --silent "$path" "$wal/$name" || die "$name is in the archive with another content"
        ;;
    *)
        [[ $name =~ ^[0-9A-F]{24}(\.partial)?$ ]] || die "$name is no file of the log"
        archive_segment
        ;;
esac
# The segment is safe: what is wrong with a metric must not make PostgreSQL keep its log until the disk is full.
record_success flowlet_wal_archive_last_success_timestamp_seconds "When a file of the log was last archived." ||
    say "cannot write to BACKUP_METRICS_DIRECTORY" >&2
