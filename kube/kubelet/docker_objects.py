"""What the kubelet asks for, in Docker's words, and what Docker says of it, in the kubelet's. Pure functions.

Docker knows no pods: which pod a container belongs to is in its labels, and everything a status needs is read from
`inspect` (the list of containers lacks exit codes and times).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kube.kubelet.runtime import (
    CONTAINER_HASH,
    CONTAINER_NAME,
    CONTAINER_TYPE,
    GRACE_PERIOD,
    NODE_NAME,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    RESTART_COUNT,
    SANDBOX_ID,
    ContainerConfig,
    ContainerStatus,
    Image,
    Mount,
    Pid,
    PodId,
    SandboxConfig,
    SandboxStatus,
    Security,
    State,
    Usage,
    container_name,
    full_image_name,
    sandbox_name,
)

SANDBOX = "podsandbox"
CONTAINER = "container"
SANDBOX_OOM_SCORE_ADJ = -998
"""The pause container is the last to be killed for memory: its death takes the whole pod along."""
NEVER = "0001-01-01T00:00:00Z"

Json = dict[str, Any]


def pod_labels(pod: PodId, node: str) -> dict[str, str]:
    return {POD_NAME: pod.name, POD_NAMESPACE: pod.namespace, POD_UID: pod.uid, NODE_NAME: node}


def pod_id(labels: Mapping[str, str]) -> PodId:
    return PodId(labels.get(POD_NAMESPACE, ""), labels.get(POD_NAME, ""), labels.get(POD_UID, ""))


def sandbox_request(config: SandboxConfig, node: str, network: str, lowest_score: int) -> Json:
    """The body of POST /containers/create for a sandbox, and its name under `name`."""
    host: Json = {
        "NetworkMode": "host" if config.host_network else network,
        "IpcMode": "host" if config.host_ipc else "shareable",  # or no container may join it
        "CpuShares": 2,
        "OomScoreAdj": max(SANDBOX_OOM_SCORE_ADJ, lowest_score),
        "LogConfig": {"Type": "none"},
    }
    request: Json = {
        "name": sandbox_name(config),
        "Image": config.image,
        "Labels": {
            **config.labels,
            **pod_labels(config.pod, node),
            CONTAINER_TYPE: SANDBOX,
            CONTAINER_NAME: "POD",
            RESTART_COUNT: str(config.attempt),
        },
        "HostConfig": host,
    }
    if config.host_pid:
        host["PidMode"] = "host"
    if config.sysctls:
        host["Sysctls"] = dict(config.sysctls)
    if config.host_network:
        return request
    request["Hostname"] = config.hostname
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in config.ports:
        if port.host_port:
            bindings.setdefault(f"{port.container_port}/{port.protocol.lower()}", []).append(
                {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
            )
    if bindings:
        host["PortBindings"] = bindings
        request["ExposedPorts"] = {port: {} for port in bindings}
    return request


def container_request(
    config: ContainerConfig, sandbox_id: str, node: str, lowest_score: int, log_options: Mapping[str, str]
) -> Json:
    """The body of POST /containers/create for a container, and its name under `name`."""
    resources = config.resources
    request: Json = {
        "name": container_name(config),
        "Image": config.image,
        "Labels": {
            **config.labels,
            **pod_labels(config.pod, node),
            CONTAINER_TYPE: CONTAINER,
            CONTAINER_NAME: config.name,
            CONTAINER_HASH: config.hash,
            RESTART_COUNT: str(config.attempt),
            SANDBOX_ID: sandbox_id,
            GRACE_PERIOD: str(config.grace_period),
        },
        "Env": [f"{name}={value}" for name, value in config.env],
        "WorkingDir": config.working_dir,
        "User": config.security.user,
        "Tty": config.tty,
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin and config.stdin_once,
        "Healthcheck": {"Test": ["NONE"]},  # the kubelet probes; the image's own check would only cost
        "HostConfig": {
            "NetworkMode": f"container:{sandbox_id}",
            "IpcMode": "host" if config.host_ipc else f"container:{sandbox_id}",
            "PidMode": {Pid.OWN: "", Pid.POD: f"container:{sandbox_id}", Pid.NODE: "host"}[config.pid],
            # Not `Mounts`: a bind of a path that is not there makes a directory, as Kubernetes' hostPath does.
            "Binds": [_bind(mount) for mount in config.mounts],
            "CpuShares": resources.cpu_shares,
            "CpuQuota": resources.cpu_quota,
            "CpuPeriod": resources.cpu_period if resources.cpu_quota else 0,
            "Memory": resources.memory,
            "MemorySwap": resources.memory,  # no swap: memory and swap together are no more than memory
            "OomScoreAdj": max(resources.oom_score_adj, lowest_score),
            **_security(config.security),
            "LogConfig": {"Type": "json-file", "Config": dict(log_options)},
        },
    }
    # Given an entrypoint, Docker does not take the image's cmd: just what Kubernetes promises for `command`.
    if config.command is not None:
        request["Entrypoint"] = list(config.command)
    if config.args is not None:
        request["Cmd"] = list(config.args)
    return request


def _security(security: Security) -> Json:
    """The part of a container's HostConfig that says what it may do."""
    options = [f"label={key}:{value}" for key, value in security.selinux.items()]
    options += [f"seccomp={security.seccomp}"] if security.seccomp else []
    options += [f"apparmor={security.apparmor}"] if security.apparmor else []
    options += ["no-new-privileges"] if security.no_new_privileges else []
    host: Json = {"Privileged": security.privileged, "ReadonlyRootfs": security.read_only_root}
    if options:
        host["SecurityOpt"] = options
    if security.add_capabilities:
        host["CapAdd"] = list(security.add_capabilities)
    if security.drop_capabilities:
        host["CapDrop"] = list(security.drop_capabilities)
    if security.groups:
        host["GroupAdd"] = list(security.groups)
    if security.unmasked:
        host["MaskedPaths"] = host["ReadonlyPaths"] = []
    return host


def _bind(mount: Mount) -> str:
    options = ",".join(filter(None, ("ro" if mount.read_only else "", mount.propagation)))
    return f"{mount.host_path}:{mount.container_path}" + (f":{options}" if options else "")


def is_sandbox(labels: Mapping[str, str]) -> bool:
    return labels.get(CONTAINER_TYPE) == SANDBOX


def sandbox_status(inspected: Json) -> SandboxStatus:
    """A sandbox, from what `inspect` says."""
    labels, state = inspected["Config"].get("Labels") or {}, inspected["State"]
    running = state["Running"]
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    return SandboxStatus(
        id=inspected["Id"],
        pod=pod_id(labels),
        attempt=_number(labels.get(RESTART_COUNT)),
        state=_state(state),
        created_at=_created(inspected),
        ip=next((net["IPAddress"] for net in networks.values() if net.get("IPAddress")), "") if running else "",
        host_network=inspected["HostConfig"].get("NetworkMode") == "host",
        pid=state.get("Pid") or 0,
    )


def container_status(inspected: Json) -> ContainerStatus:
    """A container, from what `inspect` says.

    One that could not be started stays `created` in Docker, with an exit code and the error: it has exited, and its
    times are that of its creation (as in Kubernetes' dockershim).
    """
    labels, state = inspected["Config"].get("Labels") or {}, inspected["State"]
    started, finished = parse_time(state.get("StartedAt")), parse_time(state.get("FinishedAt"))
    status = _state(state)
    if status is State.EXITED and finished is None:
        started = finished = _created(inspected)
    elif started is not None and finished is not None:
        finished = max(started, finished)  # dockerd notes the start last, if the end follows at once
    return ContainerStatus(
        id=inspected["Id"],
        pod=pod_id(labels),
        name=labels.get(CONTAINER_NAME, ""),
        attempt=_number(labels.get(RESTART_COUNT)),
        state=status,
        image=full_image_name(inspected["Config"].get("Image", "")),
        image_id=inspected.get("Image", ""),
        sandbox_id=labels.get(SANDBOX_ID, ""),
        hash=labels.get(CONTAINER_HASH, ""),
        created_at=_created(inspected),
        started_at=started,
        finished_at=finished if status is State.EXITED else None,
        exit_code=int(state.get("ExitCode") or 0) if status is State.EXITED else 0,
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        labels=labels,
    )


def _state(state: Json) -> State:
    match state["Status"]:
        case "created":
            return State.EXITED if state.get("ExitCode") else State.CREATED
        case "running" | "paused":
            return State.RUNNING
        case "exited" | "dead":
            return State.EXITED
        case _:  # restarting, removing
            return State.UNKNOWN


def _created(inspected: Json) -> datetime:
    return parse_time(inspected["Created"]) or datetime.fromtimestamp(0, UTC)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def image(inspected: Json) -> Image:
    """An image, from what `inspect` or the list of images says."""
    names = [*(inspected.get("RepoTags") or ()), *(inspected.get("RepoDigests") or ())]
    size, user = inspected.get("Size") or 0, (inspected.get("Config") or {}).get("User") or ""
    return Image(inspected["Id"], [name for name in names if "<none>" not in name], size, user)


def usage(stats: Json) -> Usage:
    """What a container uses, from the engine's measurement, of either version of cgroups."""
    memory, cpu = stats.get("memory_stats") or {}, stats.get("cpu_stats") or {}
    detail, total = memory.get("stats") or {}, memory.get("usage") or 0
    idle = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return Usage(
        cpu=(cpu.get("cpu_usage") or {}).get("total_usage") or 0,
        memory=max(0, total - idle),
        memory_usage=total,
        rss=detail.get("total_rss", detail.get("anon", 0)),
        page_faults=detail.get("total_pgfault", detail.get("pgfault", 0)),
        major_page_faults=detail.get("total_pgmajfault", detail.get("pgmajfault", 0)),
        pids=(stats.get("pids_stats") or {}).get("current") or 0,
    )


_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def parse_time(text: str | None) -> datetime | None:
    """RFC 3339 with Docker's nanoseconds, to the microsecond; None for Go's zero time."""
    if not text or text == NEVER:
        return None
    return datetime.fromisoformat(_FRACTION.sub(lambda match: f".{match[1]:0<6}", text))


def sorted_newest_first(statuses: Sequence[Any]) -> list[Any]:
    """Sandboxes or containers: the newest first."""
    return sorted(statuses, key=lambda status: (status.created_at, status.attempt), reverse=True)
