"""What the proxy counts, under the names that Kubernetes' proxy uses; `kubeproxy_userspace_…` is our own."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384)

SYNC_SECONDS = Histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds", "How long one sync of the rules took", buckets=_SECONDS
)
FULL_SYNC_SECONDS = Histogram(
    "kubeproxy_sync_full_proxy_rules_duration_seconds", "How long one sync took that looked at all there is",
    buckets=_SECONDS,
)  # fmt: skip
PARTIAL_SYNC_SECONDS = Histogram(
    "kubeproxy_sync_partial_proxy_rules_duration_seconds", "How long one sync took that wrote what had changed",
    buckets=_SECONDS,
)  # fmt: skip
NETWORK_PROGRAMMING_SECONDS = Histogram(
    "kubeproxy_network_programming_duration_seconds",
    "From the change of a pod or service to the rules and backends that follow it",
    buckets=(0.25, 0.5, *range(1, 60), 65, 70, 75, 80, 85, 90, 95, 100, 105, 110, 115, 120, 150, 180, 210, 240, 300),
)
LAST_SYNC = Gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the rules were last synced")
LAST_QUEUED = Gauge("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a sync was last asked for")
RESTORE_FAILURES = Counter(
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "How often iptables-restore failed"
)
RULES = Gauge("kubeproxy_sync_proxy_rules_iptables_total", "Rules of ours in each table", ["table"])
RULES_LAST = Gauge("kubeproxy_sync_proxy_rules_iptables_last", "Rules written by the last sync", ["table"])
NO_LOCAL_ENDPOINTS = Gauge(
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    "Services with a traffic policy Local that have endpoints, and none on this node", ["traffic_policy"],
)  # fmt: skip
SERVICE_CHANGES = Counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of services seen")
ENDPOINTS_CHANGES = Counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of endpoints seen")
SERVICES_PENDING = Gauge(
    "kubeproxy_sync_proxy_rules_service_changes_pending", "Changes of services that no sync has begun with"
)
ENDPOINTS_PENDING = Gauge(
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending", "Changes of endpoints that no sync has begun with"
)

CONNECTIONS = Gauge("kubeproxy_userspace_connections", "TCP connections and UDP sessions being forwarded", ["protocol"])
ACCEPTED = Counter("kubeproxy_userspace_accepted_total", "TCP connections and UDP sessions begun", ["protocol"])
DIAL_FAILURES = Counter(
    "kubeproxy_userspace_backend_failures_total", "Backends that refused or did not answer, by protocol", ["protocol"]
)
NO_BACKEND = Counter(
    "kubeproxy_userspace_unserved_total", "Connections and datagrams that no backend took", ["protocol"]
)
