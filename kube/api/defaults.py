"""What the API server fills in where a client said nothing: core/v1's defaults (pkg/apis/core/v1/defaults.go).

Applied to every object that comes in, before it is validated. Defaults change only fields that are not set, so applying
them twice is the same as once; what depends on the old object or on the cluster (allocated addresses, node ports, the
service account) is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache
from typing import Any

from kube.api import authentication, binary, core, discovery, quantity
from kube.api.container import AnyContainer
from kube.api.meta import Object

TERMINATION_GRACE = 30
"""Seconds from SIGTERM to SIGKILL."""
CLIENT_IP_TIMEOUT = 10800
"""Seconds for which session affinity lasts."""
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def apply(obj: Object) -> None:
    """Fill in the defaults of an object, in place."""
    function = _FUNCTIONS.get(type(obj))
    if function is not None:
        function(obj)


def _pod(pod: core.Pod) -> None:
    _pod_spec(pod.spec)
    for container in (*pod.spec.containers, *pod.spec.initContainers):
        # Only in a pod: a template keeps what its author wrote.
        for name, limit in container.resources.limits.items():
            container.resources.requests.setdefault(name, limit)
    if pod.spec.enableServiceLinks is None:
        pod.spec.enableServiceLinks = True
    if pod.spec.hostNetwork:
        for container in (*pod.spec.containers, *pod.spec.initContainers):
            for port in container.ports:
                port.hostPort = port.hostPort or port.containerPort


def _pod_spec(spec: core.PodSpec) -> None:
    spec.dnsPolicy = spec.dnsPolicy or "ClusterFirst"
    spec.restartPolicy = spec.restartPolicy or "Always"
    spec.schedulerName = spec.schedulerName or "default-scheduler"
    if spec.securityContext is None:
        spec.securityContext = core.PodSecurityContext()
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = TERMINATION_GRACE
    # The deprecated name and the present one are two views of one field; the present one goes first.
    spec.serviceAccountName = spec.serviceAccountName or spec.serviceAccount
    spec.serviceAccount = spec.serviceAccountName
    for volume in spec.volumes:
        _volume(volume)
    for container in (*spec.initContainers, *spec.containers, *spec.ephemeralContainers):
        _container(container)
    _round_up(spec.overhead)
    if spec.resources is not None:
        _resources(spec.resources)


def _container(container: AnyContainer) -> None:
    if not container.imagePullPolicy:
        container.imagePullPolicy = pull_policy(container.image)
    container.terminationMessagePath = container.terminationMessagePath or "/dev/termination-log"
    container.terminationMessagePolicy = container.terminationMessagePolicy or "File"
    for port in container.ports:
        port.protocol = port.protocol or "TCP"
    for variable in container.env:
        if variable.valueFrom is not None and variable.valueFrom.fieldRef is not None:
            _field_ref(variable.valueFrom.fieldRef)
    _resources(container.resources)
    for probe in (container.livenessProbe, container.readinessProbe, container.startupProbe):
        if probe is not None:
            _probe(probe)
    if container.lifecycle is not None:
        for handler in (container.lifecycle.postStart, container.lifecycle.preStop):
            if handler is not None and handler.httpGet is not None:
                _http_get(handler.httpGet)


def pull_policy(image: str) -> str:
    """`Always` for an image whose tag is `latest`, said or unsaid; `IfNotPresent` for all others."""
    return "Always" if image_tag(image) == "latest" else "IfNotPresent"


def image_tag(image: str) -> str:
    """The tag of an image's name: `latest` if there is none; empty if the image is named by digest alone."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or ("" if digest else "latest")


def _probe(probe: core.Probe) -> None:
    probe.timeoutSeconds = probe.timeoutSeconds or 1
    probe.periodSeconds = probe.periodSeconds or 10
    probe.successThreshold = probe.successThreshold or 1
    probe.failureThreshold = probe.failureThreshold or 3
    if probe.httpGet is not None:
        _http_get(probe.httpGet)
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""


def _http_get(action: core.HTTPGetAction) -> None:
    action.path = action.path or "/"
    action.scheme = action.scheme or "HTTP"


def _field_ref(reference: core.ObjectFieldSelector) -> None:
    reference.apiVersion = reference.apiVersion or "v1"


def _resources(resources: core.ResourceRequirements) -> None:
    _round_up(resources.limits)
    _round_up(resources.requests)


def _round_up(amounts: dict[str, str]) -> None:
    """Amounts finer than a thousandth are rounded up to one."""
    for name, amount in amounts.items():
        amounts[name] = _milli(amount)


@lru_cache(maxsize=4096)
def _milli(amount: str) -> str:
    value = quantity.parse(amount)
    rounded = value.quantize(Decimal("0.001"), rounding=ROUND_CEILING, context=Context(prec=200))
    return amount if rounded == value else quantity.text(rounded, amount)


_DEFAULT_MODE = 0o644


def _volume(volume: core.Volume) -> None:
    sources = [name for name in core.VolumeSource.model_fields if getattr(volume, name) is not None]
    if not sources:
        volume.emptyDir = core.EmptyDirVolumeSource()
    for source in (volume.secret, volume.configMap, volume.downwardAPI, volume.projected):
        if source is not None and source.defaultMode is None:
            source.defaultMode = _DEFAULT_MODE
    if volume.hostPath is not None and volume.hostPath.type is None:
        volume.hostPath.type = ""
    if volume.downwardAPI is not None:
        _downward_items(volume.downwardAPI.items)
    if volume.projected is not None:
        for part in volume.projected.sources:
            if part.downwardAPI is not None:
                _downward_items(part.downwardAPI.items)
            if part.serviceAccountToken is not None and part.serviceAccountToken.expirationSeconds is None:
                part.serviceAccountToken.expirationSeconds = 3600
    if volume.image is not None and not volume.image.pullPolicy:
        volume.image.pullPolicy = pull_policy(volume.image.reference)
    if volume.iscsi is not None:
        volume.iscsi.iscsiInterface = volume.iscsi.iscsiInterface or "default"
    if volume.rbd is not None:
        volume.rbd.pool = volume.rbd.pool or "rbd"
        volume.rbd.user = volume.rbd.user or "admin"
        volume.rbd.keyring = volume.rbd.keyring or "/etc/ceph/keyring"
    if volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None:
        spec = volume.ephemeral.volumeClaimTemplate.spec
        spec.volumeMode = spec.volumeMode or "Filesystem"


def _downward_items(items: list[core.DownwardAPIVolumeFile]) -> None:
    for item in items:
        if item.fieldRef is not None:
            _field_ref(item.fieldRef)


def _replication_controller(rc: core.ReplicationController) -> None:
    spec = rc.spec
    if spec.replicas is None:
        spec.replicas = 1
    if spec.template is not None:
        labels = spec.template.metadata.labels
        spec.selector = spec.selector or dict(labels)
        rc.metadata.labels = rc.metadata.labels or dict(labels)
        _pod_spec(spec.template.spec)


def _service(service: core.Service) -> None:
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    spec.sessionAffinity = spec.sessionAffinity or "None"
    if spec.sessionAffinity == "None":
        spec.sessionAffinityConfig = None
    elif spec.sessionAffinity == "ClientIP":
        config = spec.sessionAffinityConfig
        if config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None:
            client_ip = core.ClientIPConfig(timeoutSeconds=CLIENT_IP_TIMEOUT)
            spec.sessionAffinityConfig = core.SessionAffinityConfig(clientIP=client_ip)
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        port.targetPort = port.targetPort or port.port
    if externally_accessible(spec):
        spec.externalTrafficPolicy = spec.externalTrafficPolicy or "Cluster"
    if spec.internalTrafficPolicy is None and spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.internalTrafficPolicy = "Cluster"
    if spec.type == "LoadBalancer":
        if spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True
        for ingress in service.status.loadBalancer.ingress:
            if ingress.ip and ingress.ipMode is None:
                ingress.ipMode = "VIP"
    if spec.clusterIP and not spec.clusterIPs:
        spec.clusterIPs = [spec.clusterIP]
    if spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
        # Upstream's allocator does this, for a cluster with one family of addresses.
        # Nobody knows which families the endpoints of a headless service without selector will have.
        anything = spec.clusterIP == "None" and not spec.selector
        if spec.ipFamilyPolicy is None:
            spec.ipFamilyPolicy = "RequireDualStack" if anything else "SingleStack"
        if not spec.ipFamilies:
            spec.ipFamilies = ["IPv4", "IPv6"] if anything and spec.ipFamilyPolicy != "SingleStack" else ["IPv4"]


def externally_accessible(spec: core.ServiceSpec) -> bool:
    """Whether traffic from outside the cluster may reach the service."""
    return spec.type in ("LoadBalancer", "NodePort") or (spec.type == "ClusterIP" and bool(spec.externalIPs))


def _endpoints(endpoints: core.Endpoints) -> None:
    for subset in endpoints.subsets:
        for port in subset.ports:
            port.protocol = port.protocol or "TCP"


def _endpoint_slice(slice_: discovery.EndpointSlice) -> None:
    for port in slice_.ports:
        port.name = port.name or ""
        port.protocol = port.protocol or "TCP"


def _token_request(request: authentication.TokenRequest) -> None:
    if request.spec.expirationSeconds is None:
        request.spec.expirationSeconds = 3600


def _secret(secret: core.Secret) -> None:
    secret.type = secret.type or "Opaque"
    # stringData is for writing only; upstream moves it when it converts to its own form.
    for key, text in secret.stringData.items():
        secret.data[key] = binary.encoded(text.encode())
    secret.stringData = {}


def _pod_template(holder: core.PodTemplate) -> None:
    _pod_spec(holder.template.spec)


def _limit_range(limits: core.LimitRange) -> None:
    for item in limits.spec.limits:
        if item.type == "Container":
            for name, value in item.max.items():
                item.default.setdefault(name, value)
            for name, value in item.default.items():
                item.defaultRequest.setdefault(name, value)
            for name, value in item.min.items():
                item.defaultRequest.setdefault(name, value)


def _namespace(namespace: core.Namespace) -> None:
    if namespace.metadata.name:
        namespace.metadata.labels[NAMESPACE_LABEL] = namespace.metadata.name
    # The finalizer is the create strategy's upstream: an object that is being deleted must be able to lose it.
    if namespace.metadata.deletionTimestamp is None and not namespace.spec.finalizers:
        namespace.spec.finalizers = ["kubernetes"]
    namespace.status.phase = namespace.status.phase or "Active"


def _node(node: core.Node) -> None:
    _round_up(node.status.capacity)
    _round_up(node.status.allocatable)
    node.status.allocatable = node.status.allocatable or dict(node.status.capacity)


_FUNCTIONS: dict[type[Object], Callable[[Any], None]] = {
    core.Pod: _pod,
    core.ReplicationController: _replication_controller,
    core.Service: _service,
    core.Endpoints: _endpoints,
    core.Namespace: _namespace,
    core.Node: _node,
    core.Secret: _secret,
    authentication.TokenRequest: _token_request,
    discovery.EndpointSlice: _endpoint_slice,
    core.PodTemplate: _pod_template,
    core.LimitRange: _limit_range,
}
