#!/bin/sh
# Installs the server that imports are compared with: PostgreSQL. Without it the tables say so.
set -eu
for program in /usr/lib/postgresql/*/bin/initdb; do
    [ -x "$program" ] && exit 0
done
command -v initdb >/dev/null && exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
fi
if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
    echo "PostgreSQL is not installed: imports will not be compared with it." >&2
    exit 0
fi
echo "Installing PostgreSQL for the benchmarks ..."
# Its own service stays off: a benchmark starts a cluster of its own.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
if ! { $as_root apt-get update -qq &&
    $as_root apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }; then
    echo "PostgreSQL cannot be installed: imports will not be compared with it." >&2
fi
