#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package in a fresh root.
#
#   tests/package.sh OLD.deb NEW.deb [ROOT]
#
#   ROOT   a Debian root to copy [default: made by debootstrap, which needs the network]
#
# Run it as root. A repository and a key in the root must be the same afterwards.
set -euo pipefail

old=$(realpath "$1")
new=$(realpath "$2")
place=$(mktemp -d)
trap 'rm -rf -- "$place"' EXIT
root=$place/root
if [ $# -gt 2 ]; then
    cp -a "$3" "$root"
else
    debootstrap --variant=minbase --include=adduser,init-system-helpers "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")" "$root" >"$place/log" 2>&1 || {
        tail "$place/log" >&2
        exit 1
    }
fi
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
say() { printf '== %s\n' "$*"; }
has() { [ -e "$root/$1" ] || { printf 'missing: %s\n' "$1" >&2; exit 1; }; }
hasnt() { [ ! -e "$root/$1" ] || { printf 'left behind: %s\n' "$1" >&2; exit 1; }; }

if command -v lintian >/dev/null; then
    say "lintian"
    lintian --allow-root --fail-on error,warning,info "$new"
else
    say "no lintian here: NOT CHECKED"
fi

cp "$old" "$root/old.deb"
cp "$new" "$root/new.deb"

say "install"
inside dpkg -i /old.deb >/dev/null
inside getent passwd dumpvault >/dev/null
for path in usr/bin/dumpvault etc/dumpvault/config.toml usr/lib/systemd/system/dumpvault.service \
    usr/share/man/man1/dumpvault.1.gz usr/share/man/man5/dumpvault.toml.5.gz var/lib/dumpvault \
    usr/share/bash-completion/completions/dumpvault usr/share/doc/dumpvault/examples/config.toml; do
    has "$path"
done
inside dumpvault --version
inside dumpvault config check

say "a repository and a key"
inside dumpvault --repo /srv/vault --key-file /etc/dumpvault/repo.key init >/dev/null
inside dumpvault --repo /srv/vault --key-file /etc/dumpvault/repo.key backup --series etc --path /etc/passwd >/dev/null
printf 'time_zone = "Europe/Berlin"\n' >>"$root/etc/dumpvault/config.toml"
before=$(cd "$root" && find srv etc/dumpvault/repo.key -type f -exec sha256sum {} + | sort)

say "upgrade: the configuration stays as it was changed"
inside dpkg -i /new.deb >/dev/null
grep -q Berlin "$root/etc/dumpvault/config.toml"
inside dumpvault --repo /srv/vault --key-file /etc/dumpvault/repo.key snapshots | grep -q etc

say "remove, then purge: repository, key and state stay"
inside dpkg -r dumpvault >/dev/null 2>&1
hasnt usr/bin/dumpvault
has etc/dumpvault/config.toml
inside dpkg -P dumpvault >/dev/null 2>&1
hasnt etc/dumpvault/config.toml
hasnt usr/share/doc/dumpvault
has var/lib/dumpvault
after=$(cd "$root" && find srv etc/dumpvault/repo.key -type f -exec sha256sum {} + | sort)
[ "$before" = "$after" ] || {
    printf 'the repository or the key changed\n' >&2
    exit 1
}

say "install again: the old repository opens"
inside dpkg -i /new.deb >/dev/null
inside dumpvault --repo /srv/vault --key-file /etc/dumpvault/repo.key check >/dev/null
say "all of tests/package.sh passed"
