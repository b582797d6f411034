#!/usr/bin/env bash
# Makes every secret of a new installation: a directory with one directory for each Kubernetes Secret, and in it one file for
# each variable. Refuses to touch what is there.
set -euo pipefail
umask 077

if [[ $# -ne 2 ]]; then
    cat <<'USAGE'
usage: create.sh DIRECTORY DATABASE

  DIRECTORY   where to write; it must not exist. Keep it as safe as the money, and never in a repository of code
  DATABASE    where the services find PostgreSQL, without a user: db.example.com:5432/flowlet?sslmode=require
USAGE
    exit 2
fi
directory=$1
database=$2
if [[ -e $directory ]]; then
    echo "create.sh: $directory exists: rotate.sh replaces secrets" >&2
    exit 1
fi
if [[ $database != ?*/?* || $database == *[@[:space:]]* ]]; then
    echo "create.sh: DATABASE is a host, perhaps a port, a slash and a name" >&2
    exit 1
fi

# Complete or not there at all.
partial=$directory.partial
mkdir "$partial"
trap 'rm -rf "$partial"' EXIT

# Each value is a variable before it is used, because a failure inside of an argument would go unseen.
random() { openssl rand -hex 32; }
url() { # role
    local password
    password=$(random)
    echo "postgres://$1:$password@$database"
}
field_key() {
    local key
    key=$(openssl rand -base64 32)
    echo "1:$key"
}
write() { # name of the Secret, name of the variable; the value is the input
    mkdir -p "$partial/$1"
    cat >"$partial/$1/$2"
}

for schema in auth accounts transactions ml; do
    url "${schema}_runtime" | write "$schema-service" DATABASE_URL
    url "${schema}_owner" | write "$schema-service-migration" MIGRATION_DATABASE_URL
done
openssl genpkey -algorithm ed25519 | write auth-service SIGNING_KEY
# Empty until a key is replaced, so that what mounts them need not change then.
write auth-service NEXT_SIGNING_KEY </dev/null
write auth-service PREVIOUS_SIGNING_KEY </dev/null
# Only its operator can tell: the mail server and our account there.
write auth-service SMTP_URL </dev/null
openssl genpkey -algorithm ed25519 | write transactions-service CHECKPOINT_SIGNING_KEY
field_key | write auth-service FIELD_KEYS
field_key | write auth-service BLIND_INDEX_KEYS
field_key | write transactions-service WEBHOOK_KEYS
field_key | write ml-service ORIGIN_KEYS
random | write service-calls SERVICE_SECRETS

mv "$partial" "$directory"
trap - EXIT
echo "made the secrets in $directory; write the URL of your mail server into auth-service/SMTP_URL"
echo "next: infrastructure/secrets.md, A new installation"
