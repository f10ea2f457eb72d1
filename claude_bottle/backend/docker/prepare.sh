#!/bin/sh
# Runs once in a build, as root: makes an image one in which a bottle can run. Installs only what is missing.
set -eu

missing=
for program in git curl rg python3; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
missing=$(echo "$missing" | sed 's/ rg/ ripgrep/')

if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        # shellcheck disable=SC2086
        apt-get install -yq --no-install-recommends $missing
        rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
    elif command -v apk >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        apk add --no-cache $missing
    elif command -v dnf >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        dnf install -y $missing
        dnf clean all
    elif ! command -v python3 >/dev/null 2>&1; then
        echo "this image has no Python, and no package manager that could install it" >&2
        exit 1
    fi
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || {
    echo "this image's python3 is older than 3.9" >&2
    exit 1
}

# The bottle's user. A base may have a user 1000 of its own (node, ubuntu); in a bottle that number is the agent's.
name=$1 uid=$2 gid=$3
shell=$(command -v bash || command -v sh)
for file in passwd group; do
    number=$([ "$file" = passwd ] && echo "$uid" || echo "$gid")
    awk -F: -v name="$name" -v number="$number" '$1 != name && $3 != number' "/etc/$file" >"/tmp/$file"
    cat "/tmp/$file" >"/etc/$file"
    rm "/tmp/$file"
done
echo "$name:x:$uid:$gid::/home/$name:$shell" >>/etc/passwd
echo "$name:x:$gid:" >>/etc/group
mkdir -p "/home/$name" /workspace /run/bottle
# Nothing is in it; closed, it would tell less plainly that nothing is.
chmod 0755 /root
chown "$uid:$gid" "/home/$name" /workspace
