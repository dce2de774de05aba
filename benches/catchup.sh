#!/usr/bin/env bash
# What a relay that returns to a backlog costs those who did not miss anything (P10, R8).
#
#   benches/catchup.sh [--backlog MIB] [--pairs N] [--live N] [--size BYTES] [--rate RATE] [--apart DIR]
#                      [--idle] [--keep]
#
# Three real relays on loopback, a -- b -- c, each with a data folder of its own. In each pair:
#
#   without   all are up and nothing is to be caught up: the way from put at a to delivery at b
#   alone     c was stopped while a backlog was put for it, and starts: how fast it has all of it
#   with      the same once more, and live messages go from a to b meanwhile
#
# Live is --live messages of 1 KiB a second (1000); the backlog has --backlog MiB (1024) in
# messages of --size bytes (16384). With --rate (such as 50MB/s) the link b -- c has that rate. With
# --apart the data folder of c is made in DIR, on a file system of its own: relays of different sites
# do not share a disk. With --idle c has the processor time that nobody else wants (SCHED_IDLE): they do
# not share processors either, and on two of them the work of c itself is most of what is measured.
# Prints one JSON object: the p99 of each run, their ratio, and the speed of the backlog beside
# live as a part of that without. Nothing else should run on the machine; --pairs are told
# one by one, and medians of them.
set -euo pipefail
cd "$(dirname "$0")/.."

BACKLOG=1024 PAIRS=3 LIVE=1000 SIZE=16384 RATE="" APART="" IDLE="" KEEP=""
die() { printf 'catchup.sh: %s\n' "$*" >&2; exit 2; }
say() { printf '%s\n' "$*" >&2; }
while [ $# -gt 0 ]; do
  case "$1" in
    --backlog) BACKLOG="${2:?--backlog needs a number of MiB}"; shift ;;
    --pairs) PAIRS="${2:?--pairs needs a number}"; shift ;;
    --live) LIVE="${2:?--live needs a number}"; shift ;;
    --size) SIZE="${2:?--size needs a number of bytes}"; shift ;;
    --rate) RATE="${2:?--rate needs a rate}"; shift ;;
    --apart) APART="${2:?--apart needs a folder}"; shift ;;
    --idle) IDLE=1 ;;
    --keep) KEEP=1 ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done

TREECAST="${TREECAST:-${CARGO_TARGET_DIR:-target}/release/treecast}"
[ -x "$TREECAST" ] || die "$TREECAST is not built (cargo build --release)"
DIR="$(mktemp -d "${TMPDIR:-/tmp}/treecast-catchup.XXXXXX")"
[ -z "$APART" ] || APART="$(mktemp -d "$APART/treecast-catchup.XXXXXX")"
declare -A PIDS=() AT=()

stop() {
  local pid="${PIDS[$1]:-}"
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  PIDS[$1]=""
}
finish() {
  for relay in a b c; do stop "$relay"; done
  if [ -n "$KEEP" ]; then say "data and logs are in $DIR $APART"; else rm -rf "$DIR" ${APART:+"$APART"}; fi
}
trap finish EXIT

# A port that nobody listens at now.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

start() {
  local data="$DIR/$1" before=()
  if [ "$1" = c ] && [ -n "$APART" ]; then data="$APART/c"; fi
  if [ "$1" = c ] && [ -n "$IDLE" ]; then before=(chrt --idle 0); fi
  "${before[@]}" "$TREECAST" relay --topology "$DIR/line.toml" --name "$1" --data "$data" >"$DIR/$1.out" 2>>"$DIR/$1.log" &
  PIDS[$1]=$!
}

ask() { local relay="$1"; shift; "$TREECAST" "$@" --relay "${AT[$relay]}" --output json; }
# The first number under a key of the JSON on standard input.
number() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" | head -n 1; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Waits until a command says yes, for at most a minute.
until_true() {
  for _ in $(seq 600); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  die "waited a minute for: $*; see --keep"
}
has_links() { [ "$(ask "$1" link list | grep -o '"up": *true' | grep -c true)" -eq "$2" ]; }

for relay in a b c; do AT[$relay]="127.0.0.1:$(free_port)"; done
{
  echo 'version = 1'
  for relay in a b c; do printf '[relay.%s]\naddress = "%s"\n' "$relay" "${AT[$relay]}"; done
  printf '[[link]]\nbetween = ["a", "b"]\n[[link]]\nbetween = ["b", "c"]\n'
  [ -z "$RATE" ] || printf 'rate = "%s"\n' "$RATE"
} >"$DIR/line.toml"
for relay in a b c; do start "$relay"; done
until_true has_links b 2

MESSAGES=$((BACKLOG * 1024 * 1024 / SIZE))
# As many lines as messages, of letters that do not compress to nothing.
lines() { head -c $((SIZE * 3 / 4 * 64)) /dev/urandom | base64 -w $((SIZE - 1)) | sed -n 1,64p >"$DIR/lines"
  for _ in $(seq $((MESSAGES / 64))); do cat "$DIR/lines"; done; }
MESSAGES=$((MESSAGES / 64 * 64))

# The backlog of the group $1 at c, complete or not.
backlog() { ask c subscription show "$1" s 2>/dev/null | number backlog; }
has_all() { [ "$(backlog "$1")" = "$MESSAGES" ]; }

# $1 live messages from a to b; prints what the load generator says.
live() { ask a bench latency --rate "$LIVE" --count "$1" --receive-at "${AT[b]}"; }

# Puts a backlog for c, which is stopped.
prepare() {
  ask c subscription create "$1" s >/dev/null
  stop c
  until_true has_links b 1
  lines | "$TREECAST" put "$1" --lines --relay "${AT[a]}" --output json >/dev/null
}

# Starts c and waits until it has all of $1: TOOK milliseconds. Not in a subshell, which would keep the
# process id for itself. Nobody is asked while the process $2 runs, if one is named: it measures, and who
# asks is a process of its own each time, which takes more than the 1 % of the time that a p99 leaves aside.
catch_up() {
  local begun
  begun=$(now_ms)
  start c
  [ -z "${2:-}" ] || wait "$2"
  for _ in $(seq 2400); do
    if has_all "$1"; then TOOK=$(($(now_ms) - begun)); return; fi
    sleep 0.25
  done
  die "c has not caught up in ten minutes; see --keep"
}

remove() { ask a group remove --yes "$1" >/dev/null; sleep 1; }

median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
part() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b == 0 ? 0 : a / b }'; }

RATIOS="" SHARES="" ALL=""
for pair in $(seq "$PAIRS"); do
  prepare "old/$pair/alone"
  catch_up "old/$pair/alone"
  alone=$TOOK
  # Live runs for nearly as long as the backlog takes, so that its p99 is that of this time.
  count=$((LIVE * alone / 1000 * 85 / 100))
  until_true has_links b 2
  sleep 1
  live "$count" >"$DIR/without.json"
  remove "old/$pair/alone"
  prepare "old/$pair/with"
  live "$count" >"$DIR/live.json" &
  catch_up "old/$pair/with" "$!"
  beside=$TOOK
  remove "old/$pair/with"
  p99_without=$(number p99_us <"$DIR/without.json")
  p99_with=$(number p99_us <"$DIR/live.json")
  ratio=$(part "$p99_with" "$p99_without") share=$(part "$alone" "$beside")
  say "pair $pair: p99 $p99_without us without, $p99_with us with: $ratio; caught up in $alone ms alone, $beside ms beside live: $share"
  RATIOS+="$ratio"$'\n' SHARES+="$share"$'\n'
  ALL+="${ALL:+, }{\"p99_without_us\": $p99_without, \"p99_with_us\": $p99_with, \"alone_ms\": $alone, \"beside_ms\": $beside}"
done
ratio=$(printf '%s' "$RATIOS" | median) share=$(printf '%s' "$SHARES" | median)
printf '{"backlog_bytes": %s, "live_per_second": %s, "rate": "%s", "pairs": [%s], "p99_ratio": %s, "drain_share": %s}\n' \
  "$((MESSAGES * SIZE))" "$LIVE" "$RATE" "$ALL" "$ratio" "$share"
