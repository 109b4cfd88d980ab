#!/usr/bin/env bash
# Kill a minion, and see who notices, when, and what is done.
. "$(dirname "$0")/lesson.sh"

say "Three web servers, one on each minion. They tolerate a dead node for five seconds only: by default it is five minutes."
k create -f - <<'YAML'
kind: ReplicationController
apiVersion: v1
metadata: {name: web}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: kube/web, imagePullPolicy: IfNotPresent}]
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
YAML
until_true 60 are_ready 3 app=web
run k get pods -o wide

say "The plug is pulled on minion-3: its kubelet, its proxy, its Docker and its containers are gone at once, and can tell nobody."
at_end docker start kube-lab-minion-3
run docker kill kube-lab-minion-3

say "What is not heard of for 40 seconds is taken for dead: the kubelet renews a Lease every ten. Meanwhile the others go on."
node_is() {
    [ "$(kubectl get node minion-3 -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = "$1" ]
}
until_true 90 node_is Unknown
run kubectl get nodes
run "kubectl describe node minion-3 | sed -n '/^Taints/,/^Unsched/p'"

say "Its pods are deleted after what they tolerate, and the replication controller has new ones made where there is life."
elsewhere() {
    [ "$(k get pods -l app=web --field-selector spec.nodeName!=minion-3 -o name | wc -l)" = 3 ] && are_ready 3 app=web
}
until_true 90 elsewhere
run k get pods -o wide

say "The minion comes back: it is Ready, and what it still ran of pods that are gone is stopped."
run docker start kube-lab-minion-3
until_true 90 node_is True
run kubectl get nodes
until_true 60 eval '[ "$(k get pods -o name | wc -l)" = 3 ]'
