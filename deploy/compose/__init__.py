"""The lab: deploy/docker-compose.yml, its image, and the commands of `deploy/lab`.

images.py     the lab's image, on Debian from a registry or made from its packages; the images of pods
compose.py    Docker Compose, version 1 or 2
lab.py        up, down, status, logs, shell
trace.py      the three workflows, as they really happened: runs one and gathers the records
logs.py       lines of the daemons' logs, in either form, as one
hops.py       records → who did what, towards whom, when
diagram.py    hops → table and picture
"""
