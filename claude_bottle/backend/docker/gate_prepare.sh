#!/bin/sh
# Runs once in a build, as root: makes an image one in which a gate can run. Installs only what is missing.
set -eu

if ! python3 -c 'import cryptography, ssl' 2>/dev/null || [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
    if command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        apt-get install -yq --no-install-recommends python3 python3-cryptography ca-certificates
        rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
    elif command -v apk >/dev/null 2>&1; then
        apk add --no-cache python3 py3-cryptography ca-certificates
    elif command -v dnf >/dev/null 2>&1; then
        dnf install -y python3 python3-cryptography ca-certificates
        dnf clean all
    fi
fi
python3 -c 'import cryptography, ssl, sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "this image has no Python 3.11 or newer with the package cryptography, and no package manager that installs it" >&2
    exit 1
}
# What a fresh volume mounted there begins as: the gate's.
mkdir -p /run/bottle
chown "$1:$2" /run/bottle
chmod 0755 /run/bottle
