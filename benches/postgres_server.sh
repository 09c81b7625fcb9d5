# Starts a private PostgreSQL server for a measurement, and removes it when the script that sources this ends.
#
#   . benches/postgres_server.sh; start_server DIRECTORY
#
# Sets `bin`, the folder of the server's programs, PGHOST and PGUSER. `as_owner` runs a command as the server's owner.

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
bin=${bin:?no PostgreSQL server found: apt-get install postgresql}
as_owner() { "$@"; }

start_server() {
    server=$(mktemp -d "$1/server.XXXXXX")
    if [ "$(id -u)" -eq 0 ]; then
        # The server refuses to run as root.
        chmod 755 "$1"
        chown postgres "$server"
        as_owner() { (cd / && runuser -u postgres -- "$@"); }
    fi
    trap stop_server EXIT
    as_owner "$bin/initdb" -D "$server/data" -U bench --auth=trust --no-sync >/dev/null
    as_owner "$bin/pg_ctl" -D "$server/data" -w -l "$server/log" \
        -o "-k $server -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_wal_size=4GB" start >/dev/null
    export PGHOST=$server PGUSER=bench
}

stop_server() {
    as_owner "$bin/pg_ctl" -D "$server/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf -- "$server"
}
