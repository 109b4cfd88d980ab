#!/usr/bin/env bash
# Create a service, and see what iptables does to a packet for its address.
. "$(dirname "$0")/lesson.sh"

say "Two pods, and a service: an address from a range that belongs to no network card anywhere."
run k create -f deploy/examples/rc.yaml -f deploy/examples/service.yaml
until_true 60 are_ready 2 app=shop
address=$(k get service shop -o jsonpath='{.spec.clusterIP}')

say "The endpoints controller keeps the list of the pods behind it that are ready, as an object of the same name."
until_true 30 eval '[ "$(k get endpoints shop -o jsonpath="{.subsets[*].addresses[*].ip}" | wc -w)" = 2 ]'
run k get endpoints shop

say "On every minion the proxy watches both, and writes rules into the kernel: what goes to $address is turned to a" \
    "pod instead. Here they are, on minion-1."
until_true 30 eval "in_lab minion-1 iptables-save -t nat | grep $address"
run in_lab minion-1 sh -c "iptables-save -t nat | grep -e $address -e lesson"

say "A request from minion-1, and the next: they take turns."
answers() {
    for _ in 1 2 3 4 5 6 7 8; do
        in_lab minion-1 timeout 5 busybox wget -q -O- "http://$address/"
    done | sort | uniq -c
}
until_true 30 eval '[ "$(answers | wc -l)" = 2 ]'
run answers

say "One pod less: its address leaves the endpoints, and with them the rules, as soon as it is to be deleted. All requests" \
    "go to the other."
run k scale rc shop --replicas=1
until_true 30 eval '[ "$(k get endpoints shop -o jsonpath="{.subsets[*].addresses[*].ip}" | wc -w)" = 1 ]'
until_true 30 eval '[ "$(answers | wc -l)" = 1 ]'
run answers

say "Without any pod, the address refuses at once: a rule says so. Without that rule the packet would leave by the default" \
    "route, and the client would wait."
run k scale rc shop --replicas=0
until_true 30 eval '[ -z "$(k get endpoints shop -o jsonpath="{.subsets}")" ]'
refused() {
    [[ "$(in_lab minion-1 timeout 5 busybox wget -q -O- "http://$address/" 2>&1)" == *refused* ]]
}
until_true 15 refused
