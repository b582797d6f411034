# syntax=docker/dockerfile:1

# PostgreSQL with the backup scripts, for compose.yaml: a plain PostgreSQL cannot run our archive_command.

FROM postgres:15-bookworm
# The distribution's security updates change these versions, so none is asked for.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends age zstd \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=postgres --group=postgres --mode=0700 /backup
COPY infrastructure/backup/*.sh /usr/local/lib/flowlet-backup/
COPY infrastructure/docker/initialize-backup.sh /docker-entrypoint-initdb.d/
USER 999:999
