#!/usr/bin/env bash
# Create a pod, and watch every hand that it passes through.
. "$(dirname "$0")/lesson.sh"

say "A pod is a wish, written into etcd by an apiserver. Nobody is told about it: whoever has a part in it watches etcd."
run k create -f deploy/examples/pod.yaml

say "A scheduler saw a pod without a node, chose one, and wrote that down by a request of its own: a Binding. The kubelet" \
    "of that node saw the pod come under its own prefix in etcd, and has Docker start it: first a container that does" \
    "nothing but hold the pod's address (the sandbox), then the pod's own."
run k wait pod hello --for=condition=Ready --timeout=60s
run k get pod hello -o wide

say "Each of them left a note. An Event is an object like any other, and gone after an hour."
run k get events --sort-by=.lastTimestamp -o custom-columns=BY:.source.component,REASON:.reason,WHAT:.message

node=$(k get pod hello -o jsonpath='{.spec.nodeName}')
say "On $node, the kubelet's Docker runs what was wished for: two containers, in the network of a third."
run in_lab "$node" docker ps --format 'table {{.Names}}\t{{.Status}}'

say "The two share an address, so one asks the other on 127.0.0.1. kubectl asks the apiserver for the log, which asks" \
    "the kubelet, which asks Docker."
until_true 20 eval "k logs hello -c client --tail=1 | grep hello"
run k logs hello -c client --tail=1

say "And back: a deletion is a wish, too. The apiserver writes a time into the pod; the kubelet stops the containers," \
    "and then has the object removed."
run k delete pod hello --wait=true
run in_lab "$node" docker ps --quiet --filter label=io.kubernetes.pod.name=hello
