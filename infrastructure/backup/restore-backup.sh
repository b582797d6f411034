#!/usr/bin/env bash
# Makes a data directory as it was at a moment, or at the end of the log. It runs the recovery itself, in private, and
# gives the directory its name only when the moment was reached; so what is there is complete, and needs neither the
# repository nor the key to be started.
set -euo pipefail
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

usage() {
    cat <<'USAGE'
usage: restore-backup.sh --to latest|TIME [--backup BACKUP] [--timeline NUMBER] DIRECTORY

  --to latest           everything that was archived
  --to TIME             as it was at a moment, such as '2026-11-22 09:30:00+00'
  --backup BACKUP       starts from this base backup, not from the newest that had ended by then
  --timeline NUMBER     stays on this timeline, instead of following the newest
  DIRECTORY             the data directory to make

Run it as the user that will run PostgreSQL, with the programs of the PostgreSQL that was backed up in PATH.

  BACKUP_DIRECTORY      the repository
  BACKUP_IDENTITY_FILE  the private key (or keys) of age
USAGE
    exit 2
}
target='' label='' timeline=latest
while [[ $# -gt 1 ]]; do
    case $1 in
        --to) target=$2 ;;
        --backup) label=$2 ;;
        --timeline) timeline=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[[ $# -eq 1 && $1 != -* && -n $target && $timeline =~ ^(latest|[0-9]+)$ ]] || usage
destination=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

[[ $(id --user) -ne 0 ]] || die "run this as the user that runs PostgreSQL, not as root"
need_programs age zstd tar sha256sum postgres pg_verifybackup pg_waldump
need_file BACKUP_IDENTITY_FILE
open_repository
[[ $destination == /* ]] || die "DIRECTORY must be an absolute path"
[[ ! -e $destination ]] || die "$destination exists: restore to another place, or move it away"
for path in "$here" "$BACKUP_DIRECTORY" "$BACKUP_IDENTITY_FILE"; do
    [[ $path =~ ^/[A-Za-z0-9._/+@-]+$ ]] || die "$path must be an absolute path without special characters"
done

choose_base_backup() {
    local candidate ended
    list_base_backups
    for candidate in "${labels[@]}"; do
        if [[ -n $label && $candidate != "$label" ]]; then
            continue
        fi
        ended=$(value_of finished_at "$base/$candidate/info")
        if [[ $target == latest || ! $ended > $moment ]]; then
            chosen=$candidate
        fi
    done
    [[ -n $chosen ]] || die "no base backup${label:+ $label} had ended by $target; there are: ${labels[*]:-none}"
}

moment='' chosen=''
if [[ $target != latest ]]; then
    moment=$(date --utc --date "$target" '+%Y-%m-%d %H:%M:%S.%6N+00') || die "$target is no time"
fi
choose_base_backup
major=$(value_of postgres "$base/$chosen/info")
[[ "$(postgres --version)" =~ \ ${major}[^0-9] ]] || die "the backup is of PostgreSQL $major, in PATH is $(postgres --version)"

if ! "$here/verify-archive.sh" --since "$chosen"; then
    # A gap after the moment does no harm; before it, the recovery stops there.
    [[ $target != latest ]] || die "the log cannot be followed to its end: restore --to a time before the gap"
    say "going on, because the problem may be later than $target"
fi

work=$destination.restoring
[[ ! -e $work ]] || die "$work exists: is another restore under way? If not, remove it"
sockets=$(mktemp -d)
server=''
clean_up() {
    if [[ -n $server ]]; then
        kill -INT "$server" 2>/dev/null || true
        wait "$server" || true
    fi
    rm -rf "$work" "$sockets"
}
trap clean_up EXIT
mkdir "$work"

say "unpacking the base backup $chosen"
digest=$(sha256sum <"$base/$chosen/data.tar.zst.age")
[[ ${digest%% *} == "$(value_of sha256 "$base/$chosen/info")" ]] || die "the base backup $chosen is damaged"
age --decrypt --identity "$BACKUP_IDENTITY_FILE" "$base/$chosen/data.tar.zst.age" |
    zstd --quiet --decompress --stdout | tar --extract --file - --directory "$work" ||
    die "the base backup cannot be decrypted: is the key another one?"
pg_verifybackup --quiet --exit-on-error "$work" || die "the base backup $chosen is damaged"

say "following the log to ${moment:-its end}"
touch "$work/recovery.signal"
: >"$sockets/postgresql.conf"
printf 'local all all trust\n' >"$sockets/pg_hba.conf"
settings=(
    -c "config_file=$sockets/postgresql.conf" -c "hba_file=$sockets/pg_hba.conf"
    -c listen_addresses= -c "unix_socket_directories=$sockets" -c port=5432
    # Nobody may connect before the end, and nothing of the primary's size is needed.
    -c hot_standby=off
    # What this server adds to the log is archived when it is started for good.
    -c wal_level=replica -c archive_mode=on -c archive_command= -c archive_library=
    -c logging_collector=off -c log_destination=stderr -c log_line_prefix= -c lc_messages=C
    -c "restore_command=env BACKUP_DIRECTORY=$BACKUP_DIRECTORY BACKUP_IDENTITY_FILE=$BACKUP_IDENTITY_FILE $here/fetch-wal.sh %f %p"
    -c "recovery_target_timeline=$timeline"
)
if [[ $target != latest ]]; then
    settings+=(-c "recovery_target_time=$moment" -c recovery_target_action=promote)
fi
log=$sockets/log
postgres -D "$work" "${settings[@]}" >"$log" 2>&1 &
server=$!
until [[ $(sed -n 8p "$work/postmaster.pid" 2>/dev/null) == ready* ]]; do
    if ! kill -0 "$server" 2>/dev/null; then
        server=''
        tail -n 20 "$log" >&2
        die "the recovery did not reach ${moment:-the end of the log}; PostgreSQL's last words are above"
    fi
    sleep 0.2
done
kill -INT "$server"
wait "$server" || die "PostgreSQL did not stop cleanly after the recovery: $(tail -n 5 "$log")"
server=''
mv "$work" "$destination"
sync "$(dirname "$destination")"
say "restored $destination; $(grep --text 'last completed transaction was at log time' "$log" | tail -n 1 || true)"
