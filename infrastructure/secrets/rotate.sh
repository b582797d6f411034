#!/usr/bin/env bash
# One step of replacing a secret in the directory that create.sh made. After each step the services take it over by a rolling
# restart; infrastructure/secrets.md has the commands in between. A step that is out of order is refused, and one that was
# broken off can be repeated.
set -euo pipefail
umask 077

usage() {
    cat <<'USAGE'
usage: rotate.sh DIRECTORY signing-key publish | sign | retire | replace
       rotate.sh DIRECTORY service-secrets publish | sign | retire
       rotate.sh DIRECTORY field-keys publish | retire
       rotate.sh DIRECTORY checkpoint-key replace
       rotate.sh DIRECTORY webhook-keys publish | sign | retire
       rotate.sh DIRECTORY origin-keys publish | retire
       rotate.sh DIRECTORY database-login SERVICE
       rotate.sh DIRECTORY migration-password SERVICE

  publish   makes a new secret that everybody accepts and nobody uses
  sign      uses the new one, accepts both
  retire    ends the old one
  replace   all at once: of checkpoints that is enough; of a signing key that leaked, everybody's access token ends
USAGE
    exit 2
}
die() {
    echo "rotate.sh: $*" >&2
    exit 1
}
random() { openssl rand -hex 32; }
# Replaces a file as a whole. A value is a variable before it is an argument, where a failure would go unseen.
write() { # file, value
    printf '%s' "${2:+$2
}" >"$directory/.partial"
    mv "$directory/.partial" "$1"
}

signing_key() { # step
    local keys=$directory/auth-service current next previous
    current=$(<"$keys/SIGNING_KEY")
    next=$(<"$keys/NEXT_SIGNING_KEY")
    previous=$(<"$keys/PREVIOUS_SIGNING_KEY")
    case $1 in
    publish)
        [[ -z $next ]] || die "the next key is published: sign with it"
        [[ -z $previous ]] || die "the previous key is still there: retire it first"
        next=$(openssl genpkey -algorithm ed25519)
        write "$keys/NEXT_SIGNING_KEY" "$next"
        ;;
    sign)
        [[ -n $next ]] || die "no next key is published"
        if [[ $current != "$next" ]]; then
            write "$keys/PREVIOUS_SIGNING_KEY" "$current"
            write "$keys/SIGNING_KEY" "$next"
        fi
        write "$keys/NEXT_SIGNING_KEY" ""
        ;;
    retire)
        [[ -z $next ]] || die "the next key does not sign yet"
        [[ -n $previous ]] || die "there is no previous key"
        write "$keys/PREVIOUS_SIGNING_KEY" ""
        ;;
    replace)
        current=$(openssl genpkey -algorithm ed25519)
        write "$keys/SIGNING_KEY" "$current"
        write "$keys/NEXT_SIGNING_KEY" ""
        write "$keys/PREVIOUS_SIGNING_KEY" ""
        ;;
    *) usage ;;
    esac
}

# Each checkpoint names its key, and the ledger remembers all that signed, so nothing has to be in step.
checkpoint_key() { # step
    local key
    [[ $1 == replace ]] || usage
    key=$(openssl genpkey -algorithm ed25519)
    write "$directory/transactions-service/CHECKPOINT_SIGNING_KEY" "$key"
}

service_secrets() { # step
    local file=$directory/service-calls/SERVICE_SECRETS kept=$directory/next-service-secret secrets next=
    secrets=$(<"$file")
    [[ ! -e $kept ]] || next=$(<"$kept")
    case $1 in
    publish)
        if [[ -z $next || $secrets == "$next" ]]; then
            [[ $secrets != *,* ]] || die "there are two secrets already"
            next=$(random)
            write "$kept" "$next"
        fi
        [[ $secrets != "$next,"* ]] || die "the next secret signs: retire the old one"
        write "$file" "${secrets%",$next"},$next"
        ;;
    sign)
        [[ -n $next && $secrets == *"$next"* ]] || die "no next secret is published"
        secrets=${secrets%",$next"}
        write "$file" "$next,${secrets#"$next,"}"
        ;;
    retire)
        [[ -n $next && ($secrets == "$next,"* || $secrets == "$next") ]] || die "no new secret signs"
        write "$file" "$next"
        rm "$kept"
        ;;
    *) usage ;;
    esac
}

# Lists of `number:key`, the one to write with first. A number is never used again.
field_keys() { # step
    local file keys first key
    keys=$(cat "$directory"/auth-service/{FIELD_KEYS,BLIND_INDEX_KEYS})
    [[ $1 != retire || $keys == *,* ]] || die "there are no old keys"
    for file in "$directory"/auth-service/{FIELD_KEYS,BLIND_INDEX_KEYS}; do
        keys=$(<"$file")
        first=${keys%%,*}
        case $1 in
        publish)
            # One that has two was done before the step was broken off.
            [[ $keys != *,* ]] || continue
            key=$(openssl rand -base64 32)
            write "$file" "$((${first%%:*} + 1)):$key,$keys"
            ;;
        retire) write "$file" "$first" ;;
        *) usage ;;
        esac
    done
}

# Of two keys the second is the new one until it writes.
webhook_keys() { # step
    local file=$directory/transactions-service/WEBHOOK_KEYS keys first second key
    keys=$(<"$file")
    first=${keys%%,*}
    second=${keys#"$first"}
    second=${second#,}
    case $1 in
    publish)
        if [[ -z $second ]]; then
            key=$(openssl rand -base64 32)
            second="$((${first%%:*} + 1)):$key"
        fi
        ((${second%%:*} > ${first%%:*})) || die "the new key writes: retire the old one"
        write "$file" "$first,$second"
        ;;
    sign)
        [[ -n $second ]] || die "no new key is published"
        ((${second%%:*} < ${first%%:*})) || write "$file" "$second,$first"
        ;;
    retire)
        [[ -n $second ]] || die "no new key is published"
        ((${second%%:*} < ${first%%:*})) || die "the new key does not write yet"
        write "$file" "$first"
        ;;
    *) usage ;;
    esac
}

# The first hashes; under the second what is on the lists is still found.
origin_keys() { # step
    local file=$directory/ml-service/ORIGIN_KEYS keys first key
    keys=$(<"$file")
    first=${keys%%,*}
    case $1 in
    publish)
        # One that has two was done before the step was broken off.
        [[ $keys != *,* ]] || return 0
        key=$(openssl rand -base64 32)
        write "$file" "$((${first%%:*} + 1)):$key,$keys"
        ;;
    retire)
        [[ $keys == *,* ]] || die "there is no old key"
        write "$file" "$first"
        ;;
    *) usage ;;
    esac
}

# The same URL for another user with another password.
new_url() { # file, user
    local url password
    url=$(<"$1")
    password=$(random)
    write "$1" "postgres://$2:$password@${url##*@}"
}

user_of() { # file
    local url
    url=$(<"$1")
    url=${url#postgres://}
    echo "${url%%:*}"
}

[[ $# -eq 3 ]] || usage
directory=$1
[[ -d $directory/auth-service ]] || die "$directory was not made by create.sh"
case $2 in
signing-key) signing_key "$3" ;;
service-secrets) service_secrets "$3" ;;
field-keys) field_keys "$3" ;;
checkpoint-key) checkpoint_key "$3" ;;
webhook-keys) webhook_keys "$3" ;;
origin-keys) origin_keys "$3" ;;
database-login)
    file=$directory/$3/DATABASE_URL
    [[ -f $file ]] || die "$3 has no database"
    user=$(user_of "$file")
    suffix=$(openssl rand -hex 4)
    new_url "$file" "${user%%_runtime*}_runtime_$suffix"
    ;;
migration-password)
    file=$directory/$3-migration/MIGRATION_DATABASE_URL
    [[ -f $file ]] || die "$3 has no database"
    user=$(user_of "$file")
    new_url "$file" "$user"
    ;;
*) usage ;;
esac
