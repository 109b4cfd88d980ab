#!/usr/bin/env bash
# Replace every pod behind a service while a client goes on asking it.
. "$(dirname "$0")/lesson.sh"

say "Three web servers behind an address. Each goes on answering for two seconds after it has been told to stop (preStop):" \
    "who stops a pod, and who takes it out of the rules, hear of its deletion at the same time, and do not wait for each" \
    "other."
k create -f - <<'YAML'
kind: ReplicationController
apiVersion: v1
metadata: {name: web}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: kube/web
        imagePullPolicy: IfNotPresent
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
        lifecycle: {preStop: {exec: {command: [sleep, "2"]}}}
YAML
run k expose rc web --port=80
until_true 60 are_ready 3 app=web
address=$(k get service web -o jsonpath='{.spec.clusterIP}')
until_true 30 in_lab minion-2 timeout 2 busybox wget -q -O- "http://$address/"

say "A client on minion-2 asks it, one request after another, and notes what went wrong."
in_lab minion-2 sh -c "rm -f /tmp/stop /tmp/asked /tmp/failed; touch /tmp/asked /tmp/failed
    while [ ! -e /tmp/stop ]; do
        echo >>/tmp/asked
        timeout 5 busybox wget -q -O /dev/null http://$address/ 2>>/tmp/failed
    done" &
client=$!
at_end "in_lab minion-2 touch /tmp/stop; wait $client"
until_true 10 in_lab minion-2 test -s /tmp/asked

say "Now every pod is deleted, one after another, and the next only when its successor is ready. A pod that is to be deleted" \
    "leaves the endpoints at once, and its containers have their grace period to finish."
for pod in $(k get pods -l app=web -o name); do
    run k delete "$pod" --wait=false
    until_true 60 eval "! k get $pod"
    until_true 60 are_ready 3 app=web
done

in_lab minion-2 touch /tmp/stop
wait "$client" || true
say "Requests sent, and what the client complained of:"
run in_lab minion-2 sh -c 'wc -l </tmp/asked; cat /tmp/failed'
in_lab minion-2 test ! -s /tmp/failed
