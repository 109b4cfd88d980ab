#!/usr/bin/env bash
# Cut a minion off from the network: it lives, but nobody can tell.
. "$(dirname "$0")/lesson.sh"

say "A pod on each minion, as in kill-a-minion; this time the machine goes on living, behind a cut cable."
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
YAML
until_true 60 are_ready 3 app=web
pod=$(k get pods -o jsonpath='{.items[?(@.spec.nodeName=="minion-3")].metadata.name}')
network=$(docker inspect kube-lab-minion-3 --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}')
at_end docker network connect "$network" kube-lab-minion-3
run docker network disconnect "$network" kube-lab-minion-3

say "From outside, a cut cable and a dead machine look alike. After 40 seconds without a sign of life the node's state is" \
    "Unknown, which is not the same as bad."
ready_is() {
    [ "$(kubectl get node minion-3 -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = "$1" ]
}
until_true 90 ready_is Unknown
elsewhere() {
    [ "$(k get pods -l app=web --field-selector spec.nodeName!=minion-3 -o name | wc -l)" = 3 ] && are_ready 3 app=web
}
until_true 90 elsewhere

say "Four web servers run now, and the cluster counts three: the cut-off kubelet cannot know that its pod was given up, and" \
    "so it keeps what it was last told to keep."
run in_lab minion-3 docker ps --format '{{.Names}}' --filter "label=io.kubernetes.pod.name=$pod"

say "The cable is mended. The kubelet hears that the pod is to go, stops it, and confirms."
run docker network connect "$network" kube-lab-minion-3
until_true 90 ready_is True
stopped() {
    [ -z "$(in_lab minion-3 docker ps --quiet --filter "label=io.kubernetes.pod.name=$pod")" ]
}
until_true 60 stopped
until_true 60 eval '[ "$(k get pods -o name | wc -l)" = 3 ]'
run k get pods -o wide
