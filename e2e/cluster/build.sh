#!/usr/bin/env bash
# Builds the programs the tests and the demo run against, from the pinned Go modules in tools/, into one cache folder.
#   bash build.sh [kube|etcd|helm|s3|minio|coredns|matrixone ...]     (default: everything but coredns)
# Folder: OUT, else $MO_BACKUP_CACHE/bin, else $XDG_CACHE_HOME/mo-backup/bin, else ~/.cache/mo-backup/bin. JOBS (2) = parallel compilers.
# A set is skipped when its stamp (hash of go.mod, go.sum, flags and Go version) matches and all its binaries exist.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-${MO_BACKUP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mo-backup}/bin}; mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd)
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local
for program in go cc flock sha256sum; do
  command -v $program > /dev/null || { echo "build.sh needs '$program', which this machine does not have: install Go 1.26, a C compiler and util-linux" >&2; exit 1; }
done

ver() { sed -nE "s#^(require )?[[:space:]]*$2 (v[^ ]+).*#\2#p" "$here/tools/$1/go.mod" | head -1; }     # the version that go.mod pins
stamp() { # set, ldflags, binary=package...
  local set=$1 ld=$2; shift 2
  (cat "$here/tools/$set/go.mod" "$here/tools/$set/go.sum"; echo "$ld $*"; go version) | sha256sum | cut -d' ' -f1
}
current() { # set, ldflags, binary=package...: is what lies there what would be built?
  local set=$1 bin; [ "$(cat "$OUT/.$set.stamp" 2>/dev/null)" = "$(stamp "$@")" ] || return 1
  shift 2; for bin in "$@"; do [ -x "$OUT/${bin%%=*}" ] || return 1; done
}
build() { # set, ldflags, binary=package...; PREPARE names a function that is called first
  local set=$1 ld=$2 bin t0
  if current "$@"; then echo "$set: up to date"; return; fi
  exec 9> "$OUT/.$set.lock"                     # whoever comes second waits, then finds it built
  flock -n 9 || { echo "$set: another build of it is running, waiting"; flock 9; }
  if current "$@"; then echo "$set: up to date"; exec 9>&-; return; fi
  local want; want=$(stamp "$@"); shift 2
  rm -f "$OUT/.$set.stamp"
  [ -z "${PREPARE:-}" ] || $PREPARE
  for bin in "$@"; do
    echo "$set: building ${bin%%=*}"; t0=$SECONDS
    # -pgo=off: a default.pgo beside a main package would make Go compile every dependency a second time (1.36.4 has none).
    (cd "$here/tools/$set" && go build -p "${JOBS:-2}" -trimpath -pgo=off -ldflags "-s -w $ld" -o "$OUT/${bin%%=*}" "${bin#*=}")
    echo "$set: ${bin%%=*} $(( $(stat -c %s "$OUT/${bin%%=*}") / 1000000 )) MB after $((SECONDS-t0)) s"
  done
  echo "$want" > "$OUT/.$set.stamp"; exec 9>&-
}
libmo() { # the module brings C files that its Go files link as libmo
  (cd "$here/tools/matrixone" && go mod download github.com/matrixorigin/matrixone)
  local dir f; dir=$(cd "$here/tools/matrixone" && go list -m -f '{{.Dir}}' github.com/matrixorigin/matrixone)
  libs=$(mktemp -d); trap 'rm -rf "$libs"' EXIT
  for f in mo arith compare logic; do cc -std=c99 -O3 -c "$dir/cgo/$f.c" -o "$libs/$f.o"; done
  ar rcs "$libs/libmo.a" "$libs"/*.o
  export CGO_ENABLED=1 CGO_CFLAGS="-I$dir/cgo" CGO_LDFLAGS="-L$libs"
}

[ $# -gt 0 ] || set -- matrixone etcd s3 kube helm minio
echo "programs go to $OUT (a first build takes about half an hour on two cores)"
for set in "$@"; do case $set in
  kube)
    k=$(ver kube k8s.io/kubernetes); minor=${k#v1.}; minor=${minor%%.*}; ld=
    for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do   # without these the server calls itself v0.0.0-master
      ld="$ld -X $p.gitVersion=$k -X $p.gitMajor=1 -X $p.gitMinor=$minor -X $p.gitTreeState=clean -X $p.gitCommit=tools"
    done
    c=k8s.io/kubernetes/cmd
    build kube "$ld" kube-apiserver=$c/kube-apiserver kube-controller-manager=$c/kube-controller-manager \
      kube-scheduler=$c/kube-scheduler kubectl=$c/kubectl kubelet=$c/kubelet kube-proxy=$c/kube-proxy ;;
  etcd) build etcd "" etcd=go.etcd.io/etcd/server/v3 ;;
  helm) build helm "-X helm.sh/helm/v4/internal/version.version=$(ver helm helm.sh/helm/v4)" helm=helm.sh/helm/v4/cmd/helm ;;
  s3) build s3 "-X main.Version=$(ver s3 github.com/versity/versitygw)" versitygw=github.com/versity/versitygw/cmd/versitygw ;;
  minio) build minio "" minio=github.com/minio/minio ;;
  coredns) build coredns "" coredns=github.com/coredns/coredns ;;
  matrixone)
    m=$(ver matrixone github.com/matrixorigin/matrixone); v=github.com/matrixorigin/matrixone/pkg/version
    ( PREPARE=libmo build matrixone "-X $v.Version=$m -X $v.GoVersion=go -X $v.BranchName=$m -X $v.CommitID=$m -X $v.BuildTime=0" \
      mo-service=github.com/matrixorigin/matrixone/cmd/mo-service ) ;;
  *) echo "unknown set $set" >&2; exit 2 ;;
esac; done
