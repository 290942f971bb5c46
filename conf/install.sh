#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# install.sh: installs the packages of conf/packages that are missing, and nothing when none is.
# Debian and its relatives; elsewhere it says that it cannot look, and the build will tell.
set -euo pipefail

list=$(dirname "$0")/packages

if ! command -v dpkg-query >/dev/null; then
    echo "no dpkg here: conf/packages says what is needed, under Debian's names" >&2
    exit 0
fi

missing=()
while read -r package _; do
    case $package in
    '' | '#'*) continue ;;
    esac
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done <"$list"

[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
