#!/usr/bin/env bash
# Create a replication controller, scale it, and take its pods away from it.
. "$(dirname "$0")/lesson.sh"

say "A replication controller is a number, a selector and a template. The controller-manager compares the number with the" \
    "pods that the selector finds, and creates or deletes the difference. It remembers nothing else."
run k create -f deploy/examples/rc.yaml
until_true 60 are_ready 2 app=shop
run k get rc,pods -o wide

say "Scaling changes the number. Who changes it, and why, is nobody's concern."
run k scale rc shop --replicas=4
until_true 60 are_ready 4 app=shop

say "A pod that is deleted is missed at once."
victim=$(k get pods -l app=shop -o jsonpath='{.items[0].metadata.name}')
run k delete pod "$victim" --wait=false
until_true 60 are_ready 4 app=shop

say "Take a pod's label away, and the controller lets it go: the selector finds it no more. It runs on, an orphan, for" \
    "you to look at, and a new one takes its place."
orphan=$(k get pods -l app=shop -o jsonpath='{.items[0].metadata.name}')
run k label pod "$orphan" app-
until_true 60 are_ready 4 app=shop
run k get pods -L app
test "$(k get pods -o name | wc -l)" = 5

say "To zero, and every pod of the controller is gone; the orphan is not."
run k scale rc shop --replicas=0
until_true 60 eval '[ "$(k get pods -o name)" = "pod/$orphan" ]'
run k get pods
