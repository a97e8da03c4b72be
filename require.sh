#!/bin/sh
# sh require.sh CHECK PACKAGES HINT: if the command CHECK fails, install the Debian packages PACKAGES (only root on Debian
# or Ubuntu can); if CHECK still fails, print HINT, which says what to install, and fail.
set -u
check=$1 packages=$2 hint=$3

if sh -c "$check" >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q && apt-get install -q -y --no-install-recommends $packages
    if sh -c "$check" >/dev/null 2>&1; then exit 0; fi
fi
echo "$hint" >&2
exit 1
