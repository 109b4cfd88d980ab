#!/usr/bin/env bash
# Lose a member of etcd, then the majority, and get it back.
. "$(dirname "$0")/lesson.sh"

members() {
    in_lab etcd-1 etcdctl --endpoints=http://etcd-1:2379,http://etcd-2:2379,http://etcd-3:2379 endpoint status -w table
}
say "Everything is in etcd, three times. A write counts when two of three have it."
run members

say "Without one member, nothing is lost and nothing stops."
at_end docker start kube-lab-etcd-2 kube-lab-etcd-3
run docker kill kube-lab-etcd-3
write() {  # whose answer was lost has perhaps been written all the same
    k create configmap "written-with-$1" --from-literal=members="$2" || k get configmap "written-with-$1"
}
until_true 15 write two 2
run k get configmap written-with-two -o jsonpath='{.data}'

say "Without two, the one that is left can neither write nor know whether what it has is still true. The apiservers say so," \
    "at once and clearly; nothing is acknowledged that could be lost."
run docker kill kube-lab-etcd-2
refuses() {
    [ "$(curl -s -m 20 -o /dev/null -w '%{http_code}' "$API/api/v1/namespaces/$NAMESPACE/configmaps/written-with-two")" = 503 ]
}
until_true 60 refuses
run curl -sS -m 20 "$API/api/v1/namespaces/$NAMESPACE/configmaps/written-with-two"
try curl -sS --fail -m 20 -X POST -H 'Content-Type: application/json' \
    -d '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"written-with-one"}}' "$API/api/v1/namespaces/$NAMESPACE/configmaps"

say "What runs goes on running, however: kubelets and proxies hold what they know."
run in_lab minion-1 docker ps --quiet

say "The members come back, elect a leader, and the cluster is what it was."
run docker start kube-lab-etcd-2 kube-lab-etcd-3
until_true 60 kubectl get --raw /readyz
run k get configmap written-with-two -o jsonpath='{.data}'
until_true 30 write three 3
until_true 60 members # one that was killed has yet to read its log
run members
