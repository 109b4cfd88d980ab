import os

# The kubelet starts commands, and never uses gRPC in a child: its fork handlers only make noise on stderr.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
