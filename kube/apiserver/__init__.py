"""The front door: Kubernetes' REST API over etcd. Read server.py first, then handlers.py, verbs.py and cache.py."""
