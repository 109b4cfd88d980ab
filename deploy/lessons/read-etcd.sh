#!/usr/bin/env bash
# Read the cluster's state where it lives.
. "$(dirname "$0")/lesson.sh"

etcdctl() {
    in_lab etcd-1 etcdctl "$@"
}
say "Under /registry there is a key for each object: kind, namespace, name."
run k create -f deploy/examples/pod.yaml -f deploy/examples/service.yaml
run k wait pod hello --for=condition=Ready --timeout=60s
run "etcdctl get --prefix --keys-only /registry | grep -e $NAMESPACE -e minions"

say "A value is the object as JSON. What it lacks is its resourceVersion: that is the number of the revision in which etcd" \
    "last changed the key, so it cannot be out of date."
run "etcdctl get --print-value-only /registry/pods/$NAMESPACE/hello | cut -c1-100"
revision=$(etcdctl get "/registry/pods/$NAMESPACE/hello" -w json | sed 's/.*"mod_revision":\([0-9]*\).*/\1/')
version=$(k get pod hello -o jsonpath='{.metadata.resourceVersion}')
say "etcd says $revision, the apiserver says $version."
test "$revision" = "$version"

say "The pod is there once more, under its node. Its kubelet watches that prefix, and so hears of its own pods alone; both" \
    "were written in one transaction, when the pod was bound."
node=$(k get pod hello -o jsonpath='{.spec.nodeName}')
run etcdctl get --prefix --keys-only "/registry/nodes/$node/boundpods/$NAMESPACE"

say "A service's address is a key of its own, created in the transaction that created the service, on the condition that it" \
    "was not there: two apiservers cannot hand out one address."
address=$(k get service shop -o jsonpath='{.spec.clusterIP}')
run etcdctl get --keys-only "/registry/ipaddresses/$address"
run k delete service shop
test -z "$(etcdctl get --keys-only "/registry/ipaddresses/$address")"
