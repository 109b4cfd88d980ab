"""kube-dns: see server.py."""

from kube import daemon
from kube.dns import options, server


def main() -> None:
    """The entry point."""
    daemon.main(options.parser(), options.from_args, server.run)


if __name__ == "__main__":
    main()
