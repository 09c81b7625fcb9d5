#!/usr/bin/env bash
# Tries the image of contrib/container without a container program: its root is unpacked, and a chroot runs the very
# user, entry point and command that the Containerfile names.
#
#   tests/container.sh PACKAGE.deb [ROOT]
#
#   ROOT   a Debian root to copy [default: made by debootstrap, which needs the network]
#
# Run it as root.
set -euo pipefail
cd "$(dirname "$0")/.."

file=contrib/container/Containerfile
value() { sed -n "s/^$1 //p" "$file" | tail -n 1; }
words() { value "$1" | python3 -c 'import json, sys; print(" ".join(json.load(sys.stdin)))'; }
user=$(value USER)
entry=$(words ENTRYPOINT)
command=$(words CMD)
environment=$(value ENV)
volumes=$(words VOLUME)

place=$(mktemp -d)
root=$place/root
pid=
clean() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -rf -- "$place"
}
trap clean EXIT
say() { printf '== %s\n' "$*"; }
die() { printf 'tests/container.sh: %s\n' "$*" >&2 && exit 1; }

say "the root"
contrib/container/root "$place/rootfs.tar" "$@" >"$place/log" 2>&1 || { tail "$place/log" >&2; exit 1; }
mkdir "$root"
tar --extract --file "$place/rootfs.tar" --directory "$root" --numeric-owner
# What a container program does: this user, this environment and nothing else. Not even /proc: what is read by it must
# be had without.
run() {
    # Word splitting is wanted: the environment is several words.
    chroot --userspec="$user" "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/nonexistent $environment "$@"
}
[ "$(chroot "$root" id -u "$user")" -gt 0 ] || die "the image runs as root"
for volume in $volumes; do
    run test -w "$volume" || die "the user $user cannot write to the volume $volume"
done
for program in $entry; do [ -x "$root$program" ] || die "no entry point $program"; done
run "$entry" --version

say "a job of the scheduler, which is the default command"
install -d -o "$(chroot "$root" id -u "$user")" "$root/srv/vault"
cat >"$root/etc/dumpvault/config.toml" <<'TOML'
host = "image"
repository = "/srv/vault"
key_file = "/var/lib/dumpvault/repo.key"

[source.names]
type = "files"
paths = ["/etc/passwd"]

[job.names]
kind = "backup"
sources = ["names"]
daily = "04:00"
TOML
chmod 644 "$root/etc/dumpvault/config.toml"
run "$entry" init >/dev/null
chroot --userspec="$user" "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/nonexistent $environment "$entry" $command >"$place/daemon" 2>&1 &
pid=$!
asked=
for _ in $(seq 600); do
    kill -0 "$pid" 2>/dev/null || { cat "$place/daemon" >&2; die "the scheduler ended"; }
    [ -n "$asked" ] || { run "$entry" schedule trigger names >"$place/asked" 2>&1 && asked=1; } || true
    run "$entry" --json snapshots 2>/dev/null | grep -q '"series":"names"' && break
    sleep 0.1
done
! grep -i attribute "$place/daemon" || die "the scheduler cannot read attributes"
run "$entry" cat image/names:/etc/passwd | cmp - "$root/etc/passwd" || {
    cat "$place/daemon" "$place/asked" >&2
    die "the job stored nothing, or something else"
}

say "it ends by the signal that stops a container"
kill -s "$(value STOPSIGNAL | sed 's/^SIG//')" "$pid"
status=0
wait "$pid" || status=$?
pid=
[ "$status" -eq 0 ] || { cat "$place/daemon" >&2; die "the scheduler ended with $status"; }
say "all of tests/container.sh passed"
