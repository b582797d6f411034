#!/usr/bin/env bash
# Takes a base backup of the running cluster, verifies it, and puts it into the repository. It succeeds only when the
# archive also has the log that goes with it.
set -euo pipefail
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

if [[ $# -ne 0 ]]; then
    cat <<'USAGE'
usage: take-backup.sh

  BACKUP_DIRECTORY          the repository
  BACKUP_RECIPIENTS_FILE    public keys of age, one a line: who can read the backups
  BACKUP_STAGING_DIRECTORY  a directory with room for the database uncompressed, on an encrypted disk: the copy is
                            verified there before it is packed, and is removed afterwards
  BACKUP_METRICS_DIRECTORY  (optional) where node_exporter's textfile collector looks
  BACKUP_ARCHIVE_WAIT       (optional) seconds to wait for the archive, 120 unless told
  PGHOST, PGUSER, …         how pg_basebackup reaches the primary, as a role with REPLICATION
USAGE
    exit 2
fi
need_programs age zstd tar sha256sum sync flock pg_basebackup pg_verifybackup pg_waldump
need_file BACKUP_RECIPIENTS_FILE
need_directory BACKUP_STAGING_DIRECTORY
open_repository
lock_repository

staging=$BACKUP_STAGING_DIRECTORY/flowlet-backup
# What a killed backup has left is plain data.
rm -rf "$staging" "$base"/.partial-*
trap 'rm -rf "$staging" "$base"/.partial-*' EXIT
mkdir "$staging"

# With the log of its own time, so that the data directory is whole even where the archive is lost.
pg_basebackup --no-password --pgdata "$staging/data" --format plain --wal-method stream --checkpoint fast \
    --manifest-checksums SHA256 --label "flowlet" ||
    die "pg_basebackup failed"
finished_at=$(date --utc '+%Y-%m-%d %H:%M:%S.%6N+00')
pg_verifybackup --quiet --exit-on-error "$staging/data" || die "the base backup is damaged"

# START WAL LOCATION: 0/4000028 (file 000000010000000000000004)
first_segment=$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\))$/\1/p' "$staging/data/backup_label")
is_segment "$first_segment" || die "backup_label does not say where the log starts"
# { "Timeline": 1, "Start-LSN": "0/4000028", "End-LSN": "0/4000138" }
end=$(sed -n 's/.*"End-LSN": "\([0-9A-F/]*\)".*/\1/p' "$staging/data/backup_manifest" | tail -n 1)
# The end is behind the last byte, which may be the beginning of a segment that there is not yet.
number_of_address "$(printf '%s/%X' "${end%/*}" $((16#${end#*/} - 1)))"
segment_at "${first_segment:0:8}" "$REPLY"
last_segment=$REPLY

label=$(date --utc +%Y%m%dT%H%M%SZ)
[[ ! -e $base/$label ]] || die "there is a base backup $label already"
partial=$base/.partial-$label
mkdir "$partial"
archive=$partial/data.tar.zst.age
tar --create --file - --directory "$staging/data" . | zstd --quiet --stdout |
    age --encrypt --recipients-file "$BACKUP_RECIPIENTS_FILE" >"$archive"
digest=$(sha256sum <"$archive")
cat >"$partial/info" <<INFO
first_segment=$first_segment
last_segment=$last_segment
finished_at=$finished_at
postgres=$(<"$staging/data/PG_VERSION")
bytes=$(stat --format %s "$archive")
sha256=${digest%% *}
INFO
sync "$archive" "$partial/info" "$partial"

waited=0
while [[ ! -e $wal/$last_segment.zst.age ]]; do
    ((waited < ${BACKUP_ARCHIVE_WAIT:-120})) ||
        die "the archive has no $last_segment after $waited s, so this backup is not kept: what does PostgreSQL log about archive_command?"
    sleep 1
    waited=$((waited + 1))
done
mv "$partial" "$base/$label"
sync "$base"
record_success flowlet_backup_last_success_timestamp_seconds "When a base backup was last taken and verified." ||
    die "the backup $label is kept, but BACKUP_METRICS_DIRECTORY cannot be written to"
say "took $label: $(value_of bytes "$base/$label/info") bytes, log from $first_segment"
