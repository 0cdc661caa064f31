#!/bin/sh
# Installs the servers that tests start themselves: a DNS authority (knot) and Redis.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=""
command -v knotd >/dev/null || missing="$missing knot"
command -v redis-server >/dev/null || missing="$missing redis-server"
[ -n "$missing" ] || exit 0
echo "Installing$missing for the tests ..."
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo -n"
fi
if ! command -v apt-get >/dev/null; then
    echo "The tests need:$missing. Install them and run make test again." >&2
    exit 1
fi
# Their own services stay off: every test starts a server of its own on a free port.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
