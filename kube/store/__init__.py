"""Where the objects live: the only package that speaks to etcd."""

import os

# Daemons start commands (iptables, say), and never use gRPC in a child: its fork handlers only make noise on stderr.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
