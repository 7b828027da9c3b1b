#!/usr/bin/env bash
# Stops every program that was recorded in one run folder.   RUN=<run folder> [PURGE=1] bash down.sh
# A real node (node.sh) goes first, its bridge last. PURGE=1 removes the run folder, so its programs are killed, not asked.
set -euo pipefail
: "${RUN:?run folder}"; [ -d "$RUN" ] || exit 0; RUN=$(cd "$RUN" && pwd); here=$(cd "$(dirname "$0")" && pwd); . "$here/lib.sh"
bash "$here/node.sh" stop || true
[ "${PURGE:-0}" != 1 ] || for f in "$RUN"/pid/*; do            # data that is thrown away needs no orderly end
  [ -f "$f" ] && read -r pid t < "$f" && [ "$(starttime "$pid")" = "$t" ] && kill -9 "$pid" || true
done
for name in scheduler kcm apiserver etcd; do stop $name; done
for f in "$RUN"/pid/*; do [ ! -f "$f" ] || stop "${f##*/}"; done
for f in "$RUN"/pods/*/*/*/pid; do              # containers of a process node
  [ -f "$f" ] && read -r pid t < "$f" && [ "$(starttime "$pid")" = "$t" ] && kill -9 -- "-$pid" || true
done
bash "$here/node.sh" net-down || true
unmount_below "$RUN"
[ "${PURGE:-0}" != 1 ] || for _ in 1 2 3 4 5; do rm -rf --one-file-system "$RUN" 2> /dev/null && break; sleep .5; done
