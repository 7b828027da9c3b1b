#!/usr/bin/env bash
# A real node: containerd, runc and CNI plugins of Debian; kubelet, kube-proxy and CoreDNS of build.sh. Needs root.
#   bash node.sh check     says what this machine lacks
#   bash node.sh net       a bridge with ADDR on it; before up.sh, so that the API server can bind to it
#   bash node.sh start     imports RUN/images/*.tar (pause.tar is the sandbox), then starts the node; Ready after some 2 s
#   bash node.sh load x.tar ... | forget <image>     puts images on the node, takes one away
#   bash node.sh stop      ends it, with all containers; removes mounts, cgroups and rules; restores kernel settings
#   bash node.sh net-down  removes the bridge; after the API server, which is bound to it
# Environment: RUN; for net ADDR (address of bridge and node), for start BIN. One such node per machine.
# No address is translated on the way out, on purpose: Pods reach this machine and each other, and nobody else.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bridge=mo-backup0 node=node1 plugins=/usr/lib/cni
packages="containerd runc containernetworking-plugins busybox-static nftables"
settings="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes net.ipv4.ip_forward"
fixed="/var/lib/kubelet /var/lib/cni /var/log/containers /run/containerd"   # folders these programs use wherever they are told to live

check() {
  local missing= program
  for program in containerd ctr runc busybox nft ip sysctl tar; do
    command -v $program > /dev/null || missing="$missing $program"
  done
  for program in bridge host-local loopback; do [ -x $plugins/$program ] || missing="$missing $plugins/$program"; done
  [ "$(id -u)" = 0 ] || { echo "a kubelet node needs root" >&2; return 1; }
  [ -z "$missing" ] && return
  echo "missing on this machine:$missing; on Debian 12:" >&2
  echo "  apt-get install --no-install-recommends $packages" >&2
  echo "(ip and sysctl come with iproute2 and procps; the test starts its own containerd and leaves a service alone)" >&2
  return 1
}
if [ "${1:-}" = check ]; then check; exit; fi

: "${RUN:?run folder}"
mkdir -p "$RUN/log" "$RUN/pid"; RUN=$(cd "$RUN" && pwd) pki=$RUN/pki; . "$here/lib.sh"
[ ! -f "$RUN/node" ] || ADDR=$(cat "$RUN/node")
subnet=${ADDR:-}; subnet=${subnet%.*}
ctr() { timeout 60 ctr --address "$RUN/containerd.sock" -n k8s.io "$@"; }
cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name kubepods; }

net() {
  check
  for dir in $(cgroups); do find "$dir" -depth -type d -exec rmdir {} + 2> /dev/null || true; done
  if ip link show $bridge > /dev/null 2>&1 || nft list table ip kube-proxy > /dev/null 2>&1 || [ -n "$(cgroups)" ]; then
    echo "this machine is a Kubernetes node already, or another run has the one test node it can have (bridge $bridge," >&2
    echo "nftables table kube-proxy, cgroup kubepods)" >&2; return 1
  fi
  if ip -4 route show | grep -q "^$subnet\."; then echo "$subnet.0/24 is in use on this machine" >&2; return 1; fi
  echo "$ADDR" > "$RUN/node"
  ip link add $bridge type bridge; ip addr add "$ADDR/24" dev $bridge; ip link set $bridge up
}

configure() {
  mkdir -p "$RUN/cni" "$RUN/kubelet"
  cat > "$RUN/cni/10-bridge.conflist" <<Y
{"cniVersion": "0.4.0", "name": "$bridge", "plugins": [{"type": "bridge", "bridge": "$bridge", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$RUN/cni/ips", "ranges": [[{"subnet": "$subnet.0/24", "rangeStart": "$subnet.10", "gateway": "$ADDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "loopback"}]}
Y
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc would die with "can't get final child's PID from pipe: EOF"
  cat > "$RUN/containerd.toml" <<Y
version = 2
root = "$RUN/containerd/root"
state = "$RUN/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$RUN/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$RUN/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$plugins"
    conf_dir = "$RUN/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
Y
  # failCgroupV1: 1.35 and later refuse cgroup v1 otherwise. volumeStatsAggPeriod: a full emptyDir is noticed sooner.
  cat > "$RUN/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$pki/ca.crt"}}
authorization: {mode: Webhook}
address: "$ADDR"
healthzBindAddress: 127.0.0.1
readOnlyPort: 0
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
seccompDefault: true
containerRuntimeEndpoint: "unix://$RUN/containerd.sock"
clusterDNS: ["$ADDR"]
clusterDomain: cluster.local
resolvConf: ""
podLogsDir: "$RUN/podlogs"
volumePluginDir: "$RUN/volumeplugins"
nodeStatusUpdateFrequency: 5s
volumeStatsAggPeriod: 5s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
Y
  # min: 0, maxPerCore: 0: leave the machine's connection-tracking settings alone
  cat > "$RUN/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: "$pki/proxy.kubeconfig"}
mode: nftables
clusterCIDR: "$subnet.0/24"
hostnameOverride: "$node"
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [127.0.0.1/32]
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
  cat > "$RUN/Corefile" <<Y
cluster.local:53 {
  bind $ADDR
  kubernetes cluster.local {
    kubeconfig $pki/admin.kubeconfig x
  }
  errors
}
.:53 {
  bind $ADDR
  template ANY ANY {
    rcode NXDOMAIN
  }
}
Y
}

start_node() {
  : "${BIN:?folder of the binaries}"; configure
  [ -f "$RUN/made" ] || for dir in $fixed; do [ -e $dir ] || echo $dir; done > "$RUN/made"
  [ -f "$RUN/settings" ] || for s in $settings; do echo "$s=$(sysctl -n $s)"; done > "$RUN/settings"
  sysctl -qw net.ipv4.ip_forward=1
  start containerd containerd --config "$RUN/containerd.toml"
  wait_for containerd 60 ctr version
  load "$RUN"/images/*.tar
  start kubelet "$BIN/kubelet" --config="$RUN/kubelet.yaml" --kubeconfig="$pki/$node.kubeconfig" --hostname-override="$node" \
    --root-dir="$RUN/kubelet" --cert-dir="$RUN/kubelet/pki" --node-ip="$ADDR"
  start kube-proxy "$BIN/kube-proxy" --config="$RUN/proxy.yaml"
  start coredns "$BIN/coredns" -conf "$RUN/Corefile"
  wait_for kubelet 120 "$BIN/kubectl" --kubeconfig "$pki/admin.kubeconfig" wait --for=condition=Ready "node/$node" --timeout=1s
}

load() { for tar in "$@"; do ctr images import "$tar" > /dev/null; done; }

in_pods() { for dir in $(cgroups); do find "$dir" -name cgroup.procs -exec cat {} +; done; }
shims() { # of our containerd: they name its socket
  for file in /proc/[0-9]*/cmdline; do
    tr '\0' ' ' < "$file" 2> /dev/null | grep -q "^[^ ]*containerd-shim[^ ]* .*$RUN/containerd.sock" || continue
    file=${file%/cmdline}; echo "${file#/proc/}"
  done
}
end_all() { # function that lists pids
  local pids
  for _ in $(seq 100); do pids=$($1); [ -n "$pids" ] || return 0; kill -9 $pids; sleep .1; done
}

stop_node() { # everything is tried, whatever fails
  set +e
  for name in coredns kube-proxy kubelet; do stop $name; done
  local container containers spaces; containers=$(ctr containers ls -q)
  spaces=$(for container in $containers; do ctr containers info "$container"; done | grep -o 'netns/cni-[^"]*' | cut -d/ -f2 | sort -u)
  end_all in_pods
  for container in $containers; do ctr tasks rm -f "$container"; ctr containers rm "$container"; done
  stop containerd; end_all shims
  unmount_below "$RUN"
  for space in $spaces; do ip netns del "$space"; done
  for dir in $(cgroups); do find "$dir" -depth -type d -exec rmdir {} \; ; done
  for family in ip ip6; do nft delete table $family kube-proxy; done
  for container in $containers; do find /var/lib/cni/results -name "*-$container-*" -delete; done
  find /var/log/containers -lname "$RUN/*" -delete
  xargs -r rm -rf --one-file-system < "$RUN/made"
  [ ! -f "$RUN/settings" ] || { sysctl -q -p "$RUN/settings"; rm "$RUN/settings"; }
} 2> /dev/null

case ${1:-} in
  net) net ;; start) start_node ;; load) shift; load "$@" ;; forget) ctr images rm --sync "$2" ;;
  stop) [ ! -f "$RUN/node" ] || stop_node ;;
  net-down) [ ! -f "$RUN/node" ] || { ip link del $bridge; rm "$RUN/node"; } ;;
  *) sed -n '2,10p' "$0" >&2; exit 2 ;;
esac
