# shellcheck shell=bash disable=SC2034 # the scripts that source this use the variables
# What a backup repository looks like; sourced by the scripts beside it, which document the variables they need.
#
#   repository                         whose backups these are; its absence means that the volume is not mounted
#   base/<time>/data.tar.zst.age       a base backup: the data directory, verified before it was packed
#   base/<time>/info                   what is in it: first_segment, finished_at, bytes, sha256, …
#   wal/<segment>.zst.age              a segment of the log
#   wal/<segment>.sha256               the digest of its content, which claims the name before the segment is written
#   wal/<timeline>.history             as PostgreSQL wrote it: positions in the log, nothing to hide
#
# Deliberately absent: sending files elsewhere. The repository is a directory on a file system with hard links, off the
# database's own disks; everything with data in it is encrypted, so it may be copied to any store.

export LC_ALL=C
umask 077
shopt -s nullglob

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*"
}

need_programs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || die "$program is missing: install it, or add its directory to PATH"
    done
}

need_file() {
    local variable=$1
    [[ -n ${!variable:-} ]] || die "$variable is not set"
    [[ -r ${!variable} && -f ${!variable} ]] || die "$variable: cannot read the file ${!variable}"
}

need_directory() {
    local variable=$1
    [[ -n ${!variable:-} ]] || die "$variable is not set"
    [[ ${!variable} == /* ]] || die "$variable must be an absolute path, not ${!variable}"
    [[ -d ${!variable} ]] || die "$variable: there is no directory ${!variable}"
}

# Prints the value of KEY in a file of KEY=VALUE lines.
value_of() {
    local key=$1 file=$2 line
    while IFS= read -r line; do
        if [[ $line == "$key="* ]]; then
            printf '%s\n' "${line#*=}"
            return
        fi
    done <"$file"
    die "$file has no $key"
}

# Sets wal, base, system_identifier, segment_bytes and segments_per_log.
open_repository() {
    need_directory BACKUP_DIRECTORY
    local marker=$BACKUP_DIRECTORY/repository
    [[ -r $marker ]] || die "$BACKUP_DIRECTORY is not a backup repository: is the volume mounted? If it is new: create-repository.sh"
    wal=$BACKUP_DIRECTORY/wal
    base=$BACKUP_DIRECTORY/base
    system_identifier=$(value_of system_identifier "$marker")
    segment_bytes=$(value_of segment_bytes "$marker")
    segments_per_log=$((0x100000000 / segment_bytes))
}

is_segment() {
    [[ $1 =~ ^[0-9A-F]{24}$ ]]
}

# The functions below answer in REPLY, because a subshell for each of ten thousand segments takes a minute.

# The number of a segment in the log, whatever its timeline.
number_of() {
    REPLY=$((16#${1:8:8} * segments_per_log + 16#${1:16:8}))
}

# The number of the segment with an address in the log, such as 0/4000028.
number_of_address() {
    REPLY=$((((16#${1%/*} << 32) + 16#${1#*/}) / segment_bytes))
}

# The segment of a timeline (as eight hexadecimal digits) with a number.
segment_at() {
    printf -v REPLY '%s%08X%08X' "$1" $(($2 / segments_per_log)) $(($2 % segments_per_log))
}

# The names of the base backups, oldest first, into the array labels.
list_base_backups() {
    local info
    labels=()
    for info in "$base"/[0-9]*/info; do
        info=${info%/info}
        labels+=("${info##*/}")
    done
}

# One at a time changes the base backups; the lock ends with the process.
lock_repository() {
    exec 9>"$BACKUP_DIRECTORY/lock"
    flock --nonblock 9 || die "another backup, or the removal of old ones, is under way"
}

# Tells Prometheus, through the textfile collector of its node exporter, that something has just succeeded.
record_success() {
    local name=$1 help=$2
    [[ -n ${BACKUP_METRICS_DIRECTORY:-} ]] || return 0
    local file=$BACKUP_METRICS_DIRECTORY/$name.prom
    printf '# HELP %s %s\n# TYPE %s gauge\n%s %s\n' "$name" "$help" "$name" "$name" "$(date +%s)" >"$file.$$" &&
        chmod 644 "$file.$$" && mv -f "$file.$$" "$file"
}
