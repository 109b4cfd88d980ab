"""kube-apiserver: see server.py, and for several processes workers.py."""

from kube import daemon
from kube.apiserver import options, workers
from kube.apiserver.options import Options


def main() -> None:
    """The entry point."""
    daemon.main(options.parser(), options.from_args, run)


async def run(chosen: Options) -> None:
    """Serve the API until cancelled: in this process, or in workers."""
    if chosen.workers > 1 and not chosen.worker_sockets:
        await workers.supervise(chosen)
        return
    # Late: the supervisor needs nothing of it.
    from kube.apiserver import server

    await server.run(chosen)


if __name__ == "__main__":
    main()
