#!/usr/bin/env bash
# Prints the Kubernetes Secrets of a directory that create.sh made, for `kubectl apply`. What it prints is as secret as they are.
set -euo pipefail

if [[ $# -ne 1 || ! -d $1/auth-service ]]; then
    echo "usage: manifest.sh DIRECTORY, which create.sh made" >&2
    exit 2
fi
for secret in "$1"/*/; do
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n' "$(basename "$secret")"
    printf '  labels:\n    app.kubernetes.io/part-of: flowlet\ntype: Opaque\ndata:\n'
    for file in "$secret"*; do
        printf '  %s: "%s"\n' "$(basename "$file")" "$(openssl base64 -A -in "$file")"
    done
done
