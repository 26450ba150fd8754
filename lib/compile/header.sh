#!/bin/sh
# @NAME@ @VERSIONS@
# An app in one file, made by holdfast compile --portable, or Holdfast itself, made with --self. After
# this text come two gzip streams: the deno program, and a tar of the app with all that it needs, or of
# Holdfast. Both are unpacked once, into a folder
# that only this user may enter and that is named by their hashes, and looked at on every start.
# The exit status of what fails here is 71, as for everything that the machine refuses.
set -eu
LC_ALL=C
PATH=/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH
old_umask=$(umask)

HEAD_BYTES=@HEAD_BYTES@
PROGRAM_BYTES=@PROGRAM_BYTES@
CODE_BYTES=@CODE_BYTES@
PROGRAM_HASH=@PROGRAM_HASH@ # SHA-256 of the deno program
CODE_HASH=@CODE_HASH@ # SHA-256 of the second stream
MODE=@MODE@ # of the cache folder, and what it holds: 755 if workers run as another user
RUNTIME='@RUNTIME@' # relative to the state folder, or absolute
SOCKETS='@SOCKETS@' # Unix sockets, a line each
KIND=@KIND@ # app, or holdfast: it serves what lies in the working folder

# Under root each process has an account of its own, which passes to what it knows the hash of.
if [ $MODE = 700 ] && [ "$(id -u)" = 0 ]; then MODE=711; fi
# What is unpacked is for this user alone, unless workers run as another.
if [ $MODE = 700 ]; then umask 077; else umask 022; fi

fail() {
  printf '%s: %s\n  hint: %s\n' '@NAME@' "$1" "$2" >&2
  exit 71
}

# This file, by the name under which it was started: a new one will be put there. It is opened once,
# so that what is read below is one file even if it is replaced meanwhile.
case $0 in
  */*) own_folder=${0%/*}/ ;;
  *) own_folder=./ ;;
esac
own_folder=$(cd "$own_folder" && pwd -P) || fail "cannot enter the folder of $0" 'call it by its path'
SELF=${own_folder%/}/${0##*/}
# Descriptors from 3 on may be sockets that the service manager passes.
[ "${LISTEN_PID-}" != $$ ] || case ${LISTEN_FDS-0} in
  [0-5]) ;;
  *) fail "$LISTEN_FDS sockets are passed" 'pass and store at most 5 in all; from source there may be more' ;;
esac
exec 9<"$SELF" || fail "cannot read $SELF" 'let this user read it'
[ -e /proc/self/fd/9 ] || fail 'no /proc is mounted here' 'mount it: mount -t proc proc /proc'

# Where data lies. All other arguments are for the program.
STATE=$own_folder
previous=
[ $KIND = app ] || STATE=/
[ $KIND = holdfast ] || for argument in "$@"; do
  [ "$previous" != --state ] || STATE=$argument
  case $argument in --state=*) STATE=${argument#--state=} ;; esac
  previous=$argument
done
found=$(cd "$STATE" 2>/dev/null && pwd -P) ||
  fail "cannot enter the state folder $STATE" 'create it, or name another with --state'
STATE=$found

# Whether $1 is a folder, no link to one, of this user, and nobody else may write there.
is_ours() {
  # As an earlier version made it.
  if [ $MODE = 711 ] && [ -d "$1" ] && [ ! -L "$1" ] && [ "$(stat -c '%u %a' "$1")" = '0 700' ]; then
    chmod 711 "$1"
  fi
  [ -d "$1" ] && [ ! -L "$1" ] && [ "$(stat -c '%u %a' "$1")" = "$(id -u) $MODE" ]
}

make_ours() {
  mkdir -p "${1%/*}" && mkdir "$1" && chmod "$MODE" "$1"
}

# The first that can be used; one that is named must be.
ROOT=
tried=
for folder in "${HOLDFAST_CACHE:-}" "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/holdfast}" \
  "${HOME:+$HOME/.cache/holdfast}"; do
  case $folder in
    '') continue ;;
    /*) ;;
    *) fail "the cache folder $folder is no absolute path" 'name it from / on' ;;
  esac
  tried="$tried $folder"
  if [ ! -e "$folder" ] && [ ! -L "$folder" ]; then make_ours "$folder" 2>/dev/null || :; fi
  if is_ours "$folder" && [ -w "$folder" ]; then
    ROOT=$folder
    break
  fi
  [ -z "${HOLDFAST_CACHE:-}" ] || break
done
[ -n "$ROOT" ] || fail "no cache folder can be used; tried:${tried:- none}" \
  "set HOLDFAST_CACHE to a folder of uid $(id -u) with the mode $MODE, or to one that can be made"
# Its real place, as those of the executable and the state: links may lie on the way to it.
ROOT=$(cd "$ROOT" && pwd -P) || fail "cannot enter $ROOT" 'let this user enter it'
case $SELF$STATE$ROOT$RUNTIME$SOCKETS in
  *,*) fail "a comma is in one of $SELF, $STATE, $ROOT" 'Deno cannot tell it from the end of a path' ;;
esac

STATE_HASH=$(printf %s "$STATE" | sha256sum)
PROGRAM=$ROOT/deno-$(printf %.32s $PROGRAM_HASH)
FOLDER=$ROOT/@NAME@-$(printf %.32s $CODE_HASH)-$(printf %.16s "$STATE_HASH")

# What an unpacked folder holds: name, inode, kind and mode, owner, size, and the times of the last
# change of content and of status, which nobody can set back.
list_content() {
  (cd "$1" && find . ! -name . ! -path './seal*' \
    -exec env TZ=UTC stat -c '%n|%i|%f|%u|%s|%y|%z' {} + | sort)
}

segment() {
  tail -c "+$(($1 + 1))" /proc/self/fd/9 | head -c "$2"
}

unpack_program() {
  segment $HEAD_BYTES $PROGRAM_BYTES | gzip -dc >"$1/deno" &&
    [ "$(sha256sum <"$1/deno")" = "$PROGRAM_HASH  -" ] || return 1
  chmod 0555 "$1/deno"
  "$1/deno" --version >/dev/null || return 1
}

unpack_code() {
  [ "$(segment $((HEAD_BYTES + PROGRAM_BYTES)) $CODE_BYTES | sha256sum)" = "$CODE_HASH  -" ] &&
    segment $((HEAD_BYTES + PROGRAM_BYTES)) $CODE_BYTES | gzip -dc |
    tar -xf - -C "$1" --no-same-owner || return 1
  # What is written lies in the state folder; the app finds it where it always was.
  while IFS='|' read -r link target; do
    mkdir -p "$1/${link%/*}" && ln -s "$STATE/$target" "$1/$link" || return 1
  done <"$1/links"
}

# Fills the folder $1 by the function $2. One start does it at a time, the others wait and use what it
# made. Its seal comes last: a folder without one was never finished, and is made anew.
unpack() {
  exec 8>"$ROOT/lock"
  flock 8
  if [ ! -e "$1/seal" ]; then
    unfinished=$1
    trap 'rm -rf "$unfinished"' EXIT
    trap 'exit 71' HUP INT TERM
    trouble=$( (
      rm -rf "$1" && mkdir "$1" && "$2" "$1" && list_content "$1" >"$1/seal.new" &&
        chmod 0400 "$1/seal.new" && chmod "$MODE" "$1" && mv "$1/seal.new" "$1/seal"
    ) 2>&1 8>&-) || fail "cannot unpack $SELF to $1; nothing is left there: ${trouble:-it is not whole}" \
      "free some space, or set HOLDFAST_CACHE to a folder from which programs may be run; if $SELF was \
replaced this moment, start it again"
    trap - EXIT HUP INT TERM
  fi
  exec 8>&-
}

# The folder $1 as a later start finds it.
check() {
  is_ours "$1" || fail "$1 is not a folder of uid $(id -u) with the mode $MODE" \
    'see who changed it; then remove it, and it is unpacked again'
  list_content "$1" | cmp -s - "$1/seal" ||
    fail "$1 is not as it was unpacked" 'see who changed it; then remove it, and it is unpacked again'
}

for name in $(env | sed -n 's/^\(@FOREIGN@\)=.*/\1/p'); do
  # No variable is to change what Deno does.
  unset "$name"
done
DENO_NO_UPDATE_CHECK=1
export DENO_NO_UPDATE_CHECK

[ ! -L "$PROGRAM" ] && [ ! -L "$FOLDER" ] ||
  fail "$PROGRAM or $FOLDER is a link" 'see who put it there; then remove it'
[ -e "$PROGRAM/seal" ] || unpack "$PROGRAM" unpack_program
check "$PROGRAM"
[ -e "$FOLDER/seal" ] || unpack "$FOLDER" unpack_code
check "$FOLDER"

# A supervisor asks so, whose executable may have been replaced.
if [ "${1-}" = --unpack ]; then
  printf '%s\n' "$FOLDER"
  exit 0
fi
exec 9<&-

umask "$old_umask"

run_deno() {
  exec "$PROGRAM/deno" run --quiet --no-prompt --no-config --no-lock --no-npm --no-remote \
    --no-code-cache "$@"
}

# What it may do depends on the command, and on where the config has its runtime folder.
if [ $KIND = holdfast ]; then
  flags=$(run_deno --allow-read "$FOLDER/holdfast/@FLAGS@" "$PROGRAM/deno" "$@") || exit 71
  IFS='
'
  set -f
  # shellcheck disable=SC2086 # A line is a flag.
  set -- $flags "$FOLDER/holdfast/@ENTRY@" "$@"
  unset IFS
  run_deno "$@"
fi

# The program is one text that needs no cache.
DENO_DIR=/dev/null/none
export DENO_DIR

in_state() {
  case $1 in /*) printf %s "$1" ;; *) printf %s "$STATE/$1" ;; esac
}
WRITABLE=$(in_state "$RUNTIME")
while IFS= read -r socket; do
  [ -z "$socket" ] || WRITABLE=$WRITABLE,$(in_state "$socket")
done <<END
$SOCKETS
END

command=
previous=
for argument in "$@"; do
  case $previous in --state | --config) previous= && continue ;; esac
  case $argument in -*) ;; *) command=${command:-$argument} ;; esac
  previous=$argument
done
# An audit sets up a world of its own, which its suspect tries to get at: it is run by hand.
if [ "$command" = audit ]; then
  set -- --allow-all "$FOLDER/holdfast/@ENTRY@" "$FOLDER" "$SELF" "$STATE" "$@"
else
  set -- --allow-read "--allow-write=$WRITABLE" --allow-net "--allow-run=$PROGRAM/deno,$SELF" \
    --allow-env --allow-ffi --allow-sys=uid \
    "$FOLDER/holdfast/@ENTRY@" "$FOLDER" "$SELF" "$STATE" "$@"
fi
run_deno "$@"
