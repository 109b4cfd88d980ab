"""The command `deploy/bench [SUITE …]`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

from deploy import benchmarks
from deploy.cluster import machine
from deploy.cluster.lock import exclusive
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed


def suites() -> list[str]:
    """The names of all suites: this package's public modules."""
    return [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]


def main() -> None:
    """Run the suites named on the command line, one after another; all of them if none is named."""
    names = suites()
    parser = argparse.ArgumentParser(prog="deploy/bench", description=(benchmarks.__doc__ or "").splitlines()[0])
    parser.add_argument("suite", nargs="*", help=f"what to measure, of {', '.join(names)} (default: all)")
    wanted = parser.parse_args().suite or names
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"no such suite: {', '.join(unknown)} (there are {', '.join(names)})")
    try:
        machine.require_root("deploy/bench")
        with exclusive(CHECKOUT / ".run/bench"):
            for name in wanted:
                suite = importlib.import_module(f"deploy.benchmarks.{name}")
                print(f"\n{name}: {(suite.__doc__ or '').splitlines()[0]}", flush=True)
                suite.bench()
    except Failed as failure:
        sys.exit(f"deploy/bench: {failure}")


if __name__ == "__main__":
    main()
