#!/usr/bin/env bash
# Makes an empty directory the backup repository of one PostgreSQL cluster, which it asks who it is.
set -euo pipefail
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

if [[ $# -ne 0 ]]; then
    cat <<'USAGE'
usage: create-repository.sh

Run it once, as the user that runs PostgreSQL, before archiving is switched on.

  BACKUP_DIRECTORY    the repository: an empty directory, on other disks than the database
  PGHOST, PGUSER, …   how psql reaches the cluster
USAGE
    exit 2
fi
need_programs psql sync
need_directory BACKUP_DIRECTORY
[[ ! -e $BACKUP_DIRECTORY/repository ]] || die "$BACKUP_DIRECTORY is a backup repository already"

query="SELECT format(E'system_identifier=%s\nsegment_bytes=%s', system_identifier, setting)
       FROM pg_control_system(), pg_settings WHERE name = 'wal_segment_size'"
identity=$(psql --no-psqlrc --no-password --tuples-only --no-align --dbname "${PGDATABASE:-postgres}" --command "$query")
mkdir -p "$BACKUP_DIRECTORY/wal" "$BACKUP_DIRECTORY/base"
printf '%s\n' "$identity" >"$BACKUP_DIRECTORY/repository.partial"
sync "$BACKUP_DIRECTORY/repository.partial"
mv "$BACKUP_DIRECTORY/repository.partial" "$BACKUP_DIRECTORY/repository"
sync "$BACKUP_DIRECTORY"
say "made $BACKUP_DIRECTORY the repository of this cluster:"
printf '%s\n' "$identity"
