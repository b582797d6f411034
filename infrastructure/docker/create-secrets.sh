#!/usr/bin/env bash
# Makes the secrets of a stack that has its own PostgreSQL: compose.yaml here, and k8s/overlays/dev. To what every
# installation has, it adds those of the database's administrator, of the backups and of Grafana.
set -euo pipefail
umask 077
cd "$(dirname "${BASH_SOURCE[0]}")"

if [[ $# -ne 0 ]]; then
    echo "usage: create-secrets.sh, which writes to infrastructure/docker/secrets" >&2
    exit 2
fi
for program in openssl age-keygen; do
    command -v "$program" >/dev/null || {
        echo "create-secrets.sh: $program is missing: install openssl and age" >&2
        exit 1
    }
done

../secrets/create.sh secrets postgresql:5432/flowlet
mkdir secrets/postgresql secrets/database-administrator secrets/backup secrets/grafana
password=$(openssl rand -hex 32)
echo "$password" >secrets/postgresql/POSTGRES_PASSWORD
echo "postgres://postgres:$password@postgresql:5432/flowlet" >secrets/database-administrator/ADMIN_DATABASE_URL
age-keygen --output secrets/backup/IDENTITY 2>/dev/null
age-keygen -y --output secrets/backup/RECIPIENTS secrets/backup/IDENTITY
openssl rand -hex 32 >secrets/grafana/ADMIN_PASSWORD

# Compose mounts the files as they are, for users with other numbers. The directory itself stays ours alone, so nobody else on
# this machine gets to them.
find secrets -mindepth 1 -exec chmod a+rX {} +
