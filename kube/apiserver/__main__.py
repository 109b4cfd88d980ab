"""kube-apiserver: see server.py, and for several processes workers.py."""

from kube import daemon
from kube.apiserver import options, workers


def main() -> None:
    """The entry point."""
    daemon.main(options.parser(), options.from_args, workers.run)


if __name__ == "__main__":
    main()
