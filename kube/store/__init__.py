"""Where the objects live: the only package that speaks to etcd."""
