#!/usr/bin/env bash
# Swap the scheduler for one's own, in ten lines.
. "$(dirname "$0")/lesson.sh"

say "A pod may name its scheduler. One that names a stranger's waits: no scheduler of ours touches it."
k create -f - <<'YAML'
kind: Pod
apiVersion: v1
metadata: {name: picky}
spec:
  schedulerName: alphabet
  containers: [{name: web, image: kube/web, imagePullPolicy: IfNotPresent}]
YAML
run k get pod picky -o wide

say "A scheduler is whoever posts Bindings. This one takes the last node of the alphabet:"
scheduler=$(mktemp)
at_end rm "$scheduler"
cat >"$scheduler" <<'PYTHON'
import json, sys, urllib.request
api = sys.argv[1] + "/api/v1"
pods = f"{api}/pods?watch=true&fieldSelector=spec.schedulerName=alphabet,spec.nodeName="
for line in urllib.request.urlopen(pods):
    pod = json.loads(line)["object"]["metadata"]
    node = max(n["metadata"]["name"] for n in json.load(urllib.request.urlopen(f"{api}/nodes"))["items"])
    binding = {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": pod["name"]}, "target": {"name": node}}
    where = f"{api}/namespaces/{pod['namespace']}/pods/{pod['name']}/binding"
    urllib.request.urlopen(urllib.request.Request(where, json.dumps(binding).encode(), {"Content-Type": "application/json"}))
    print("bound", pod["name"], "to", node, flush=True)
    break
PYTHON
run cat "$scheduler"
run timeout 60 python3 "$scheduler" "$API"
run k wait pod picky --for=condition=Ready --timeout=60s
run k get pod picky -o wide

say "The event of the pod's start was all that ever happened: there is no registration, no plug-in, no restart."
test "$(k get pod picky -o jsonpath='{.spec.nodeName}')" = "$(kubectl get nodes -o name | sort | tail -1 | cut -d/ -f2)"
