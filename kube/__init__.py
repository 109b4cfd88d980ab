"""A small, faithful Kubernetes control plane: five daemons that meet only through the state in etcd."""
