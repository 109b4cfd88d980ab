"""One machine's cluster: what `deploy/up`, `down` and `test` do, what `deploy/bench` and the end-to-end tests start.

settings.py     what a cluster is made of: directories, ports, ranges, names
supervisor.py   supervisord: its configuration and its controls
machine.py      what the machine must have: packages, ports, disk, root
engine.py       Docker: is it there, our images, what a node left behind
pki.py          keys, certificates, the administrator's kubeconfig
cluster.py      start and stop etcd, dockerd and the daemons
example.py      deploy/examples/web.yaml, and requests to its service
steps.py        progress on the terminal
up.py down.py test.py    the commands
"""
