#!/usr/bin/env bash
# Chromium and the PostgreSQL server, which tests of the curation pages start: installed where they are missing.
set -euo pipefail

missing=()
command -v chromium > /dev/null || missing+=(chromium)
compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0

install="apt-get install --yes --no-install-recommends ${missing[*]}"
if ! command -v apt-get > /dev/null; then
    echo "the tests need ${missing[*]}: please install them" >&2
    exit 1
elif [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif sudo --non-interactive true 2> /dev/null; then
    as_root="sudo"
else
    echo "the tests need ${missing[*]}: run 'sudo $install'" >&2
    exit 1
fi
$as_root apt-get update --quiet
DEBIAN_FRONTEND=noninteractive $as_root $install
