#!/usr/bin/env bash
# Run by PostgreSQL's image when it has made a new cluster: gives the cluster its backup repository.
set -euo pipefail
/usr/local/lib/flowlet-backup/create-repository.sh
