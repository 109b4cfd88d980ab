# What every lesson begins with: `. "$(dirname "$0")/lesson.sh"`. To be read by bash.
#
#   say WORDS…           text for the reader
#   run COMMAND…         shows a command, then runs it; one that fails ends the lesson. A single word is a line of shell,
#                        for pipes: run 'k get pods | sort'
#   try COMMAND…         the same for a command that is meant to fail: one that does not fail ends the lesson
#   until_true SECONDS COMMAND…   waits until a command succeeds; says what it waits for, and how long it took
#   at_end COMMAND…      run when the lesson ends, however it ends; the last one first
#   pause                waits for Enter, when a person reads
#
# A lesson works in a namespace of its own ($NAMESPACE), which is gone when it ends. It runs against the lab
# (`deploy/lab up`), and changes nothing outside of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export KUBECONFIG=${KUBECONFIG_OF_LAB:-$PWD/.run/lab/kubeconfig}
NAMESPACE=lesson-$(basename "$0" .sh)
API=http://127.0.0.1:${KUBE_LAB_PORT:-18080}
ENDINGS=()

# Text, wrapped, with an empty line before it.
say() {
    printf '\n%s\n' "$*" | fmt -w 100
}

show() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
}

run() {
    show "$*"
    if [ $# = 1 ]; then
        eval "$1"
    else
        "$@"
    fi
}

try() {
    show "$*"
    if "$@"; then
        echo "lesson: this was meant to fail" >&2
        exit 1
    fi
}

until_true() {
    local seconds=$1 started=$SECONDS
    shift
    printf '\n… until: %s' "$*"
    until "$@" >/dev/null 2>&1; do
        if [ $((SECONDS - started)) -ge "$seconds" ]; then
            printf '\nlesson: not so after %s s: %s\n' "$seconds" "$*" >&2
            exit 1
        fi
        sleep 0.2
    done
    printf ' (%s s)\n' $((SECONDS - started))
}

at_end() {
    ENDINGS=("$*" "${ENDINGS[@]}")
}

end() {
    local code=$?
    set +e
    for ending in "${ENDINGS[@]}"; do
        eval "$ending" >/dev/null 2>&1
    done
    [ $code = 0 ] && printf '\nEnd of the lesson.\n'
    exit $code
}
trap end EXIT

pause() {
    [ -t 0 ] || return 0
    printf '\n[Enter] '
    read -r
}

# kubectl, in the lesson's namespace.
k() {
    kubectl --namespace "$NAMESPACE" "$@"
}

# Run a command in one of the lab's containers.
in_lab() {
    local container=$1
    shift
    docker exec "kube-lab-$container" "$@"
}

# How many pods of a label are Ready.
ready() {
    k get pods -l "$1" -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' | grep -c True
}

# Whether so many pods of a label are Ready, no more and no fewer: `are_ready 3 app=web`.
are_ready() {
    [ "$(ready "$2")" = "$1" ]
}

kubectl get --raw /readyz >/dev/null 2>&1 || {
    echo "lesson: the lab does not answer: start it with deploy/lab up" >&2
    exit 1
}
kubectl create namespace "$NAMESPACE" >/dev/null
at_end kubectl delete namespace "$NAMESPACE" --wait=true --timeout=60s
until_true 30 kubectl get namespace "$NAMESPACE" >/dev/null
