"""kubelet: see server.py."""

from kube.daemon import main as daemon_main
from kube.kubelet import options, server


def main() -> None:
    daemon_main(options.parser(), options.from_args, server.run)


if __name__ == "__main__":
    main()
