#!/usr/bin/env bash
# Says whether the log in the repository can be followed from the base backups to its end, without a gap on any timeline.
# Needs no key unless it is to read the contents.
set -euo pipefail
# shellcheck source=repository.sh
source "$(dirname "${BASH_SOURCE[0]}")/repository.sh"

usage() {
    cat <<'USAGE'
usage: verify-archive.sh [--contents] [--since BACKUP]

  --since BACKUP    looks at this base backup and what is newer, not at all there is
  --contents        also reads everything: the digests of the base backups, and each segment, decrypted

  BACKUP_DIRECTORY      the repository
  BACKUP_IDENTITY_FILE  for --contents: the private key (or keys) of age
USAGE
    exit 2
}
contents='' since=''
while [[ $# -gt 0 ]]; do
    case $1 in
        --contents) contents=yes ;;
        --since)
            [[ $# -ge 2 ]] || usage
            since=$2
            shift
            ;;
        *) usage ;;
    esac
    shift
done
open_repository
if [[ -n $contents ]]; then
    need_programs age zstd sha256sum
    need_file BACKUP_IDENTITY_FILE
fi

problems=0
problem() {
    printf 'problem: %s\n' "$*"
    problems=$((problems + 1))
}

check_base_backups() {
    local label info archive segment digest
    for label in "${kept[@]}"; do
        info=$base/$label/info archive=$base/$label/data.tar.zst.age
        if [[ ! -f $archive || $(stat --format %s "$archive") != "$(value_of bytes "$info")" ]]; then
            problem "base backup $label is incomplete"
        elif [[ -n $contents ]]; then
            digest=$(sha256sum <"$archive")
            [[ ${digest%% *} == "$(value_of sha256 "$info")" ]] || problem "base backup $label is damaged"
        fi
        for segment in "$(value_of first_segment "$info")" "$(value_of last_segment "$info")"; do
            [[ -f $wal/$segment.zst.age ]] || problem "base backup $label needs $segment, which is missing"
        done
    done
}

# Where a timeline left its parent, by its history; the position in REPLY.
find_switch() {
    local parent address rest
    REPLY=0
    while read -r parent address rest; do
        if [[ $parent =~ ^[0-9]+$ ]]; then
            printf -v parent_of_timeline %08X "$parent"
            number_of_address "$address"
        fi
    done <"$wal/$1.history"
}

check_segments() {
    local file name timeline='' expected=0 number
    for file in "$wal"/*.zst.age; do
        name=${file##*/}
        name=${name%.zst.age}
        is_segment "$name" || continue
        number_of "$name"
        number=$REPLY
        # What is older than the oldest base backup is of no use to any.
        ((number >= start)) || continue
        if [[ ${name:0:8} != "$timeline" ]]; then
            timeline=${name:0:8}
            find_start "$timeline" "$number"
            expected=$REPLY
        fi
        if ((number > expected)); then
            segment_at "$timeline" "$expected"
            problem "$((number - expected)) segment(s) missing from $REPLY, before $name of $(date --utc --reference "$file" +%Y-%m-%dT%H:%M:%SZ)"
        fi
        [[ -f $wal/$name.sha256 ]] || problem "$name has no digest"
        [[ -z $contents ]] || check_content "$name"
        expected=$((number + 1))
        last[$timeline]=$number
        newest=$name
        count=$((count + 1))
    done
}

# The position at which the log of a timeline must begin.
find_start() {
    local timeline=$1 seen=$2
    if [[ $timeline == "$first_timeline" ]]; then
        REPLY=$start
    elif [[ -f $wal/$timeline.history ]]; then
        find_switch "$timeline"
        ((REPLY >= start)) || REPLY=$start
    else
        # The first timeline has no history.
        [[ $timeline == 00000001 ]] || problem "timeline $timeline has no history, so nothing can follow it"
        REPLY=$seen
    fi
}

# A timeline that goes on from another needs the other one up to where it left.
check_parents() {
    local file timeline
    for file in "$wal"/*.history; do
        timeline=${file##*/}
        timeline=${timeline%.history}
        parent_of_timeline=''
        find_switch "$timeline"
        if [[ -z $parent_of_timeline ]]; then
            problem "the history of timeline $timeline cannot be read"
        elif ((REPLY > start && ${last[$parent_of_timeline]:-0} < REPLY - 1)); then
            segment_at "$parent_of_timeline" $((REPLY - 1))
            problem "timeline $timeline begins after $REPLY, which is missing"
        fi
    done
}

check_content() {
    local name=$1 digest
    digest=$(age --decrypt --identity "$BACKUP_IDENTITY_FILE" "$wal/$name.zst.age" 2>/dev/null |
        zstd --quiet --decompress --stdout 2>/dev/null | sha256sum) || digest=unreadable
    [[ ${digest%% *} == "$(<"$wal/$name.sha256")" ]] || problem "$name is damaged, or the key is another one"
}

list_base_backups
kept=()
for label in "${labels[@]}"; do
    [[ $label < $since ]] || kept+=("$label")
done
[[ ${#kept[@]} -gt 0 ]] || die "there is no base backup${since:+ since $since} in $BACKUP_DIRECTORY"
[[ -z $since || ${kept[0]} == "$since" ]] || die "there is no base backup $since"

first=$(value_of first_segment "$base/${kept[0]}/info")
first_timeline=${first:0:8}
number_of "$first"
start=$REPLY count=0 newest=''
declare -A last=()
check_base_backups
check_segments
check_parents

if ((problems > 0)); then
    die "$problems problem(s): take a new base backup, and find out what happened to the archive"
fi
say "no gap: ${#kept[@]} base backup(s) from ${kept[0]}, $count segments from $first to $newest"
