#!/usr/bin/env bash
# Puts a program, and what it needs to run and nothing else, into a directory that becomes the file system of an image.
set -euo pipefail

if [[ $# -ne 2 || ! -x $1 || -e $2 ]]; then
    echo "usage: filesystem.sh PROGRAM DIRECTORY, which must not exist" >&2
    exit 2
fi
program=$1
directory=$2

mkdir -p "$directory/etc/ssl/certs" "$directory/run/certificate-authorities"
# What is written for developers; a volume that is mounted there gets its mode.
install --directory --mode 1777 "$directory/messages"
install --mode 755 "$program" "$directory/service"
# "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", and the loader: "/lib64/ld-linux-x86-64.so.2 (0x…)"
libraries=$(ldd "$program" | grep --only-matching '/[^ ]*')
while read -r library; do
    cp --dereference --parents "$library" "$directory"
done <<<"$libraries"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$directory/etc/ssl/certs"
# Without it the C library asks the name server before /etc/hosts.
echo 'hosts: files dns' >"$directory/etc/nsswitch.conf"
