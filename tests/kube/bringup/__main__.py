"""`python -m tests.kube.bringup up|down|build|images|test`."""

import argparse
import signal
import sys
import traceback

from tests.kube.bringup import external, network, tier
from tests.kube.bringup.build import build, needed
from tests.kube.bringup.down import down
from tests.kube.bringup.hold import alone
from tests.kube.bringup.host import check
from tests.kube.bringup.places import places
from tests.kube.bringup.up import running, up
from tools.building import BuildError, say


def main(arguments: list[str]) -> int:
    """Do what the arguments say; return the code to exit with."""
    parser = argparse.ArgumentParser(prog="python -m tests.kube.bringup", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "build", "images", "test"))
    parser.add_argument(
        "--policy-cidr-match-mode",
        choices=network.CIDR_MODES,
        default=network.CIDR_MODES[0],
        help="whether an ipBlock of a NetworkPolicy matches nodes (default: %(default)s)",
    )
    parser.add_argument(
        "--part",
        dest="parts",
        choices=tier.PARTS,
        action="append",
        help="of the tests; more than one may be named (default: all)",
    )
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.action != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    mode, parts = chosen.policy_cidr_match_mode, chosen.parts or tier.PARTS
    try:
        where = places()
        other = external.from_environment(where)
        if chosen.action == "up" and other:
            external.use(where, other)
            return 0
        if chosen.action == "test" and other:
            return tier.test_there(where, other, rest, parts)
        if chosen.action == "test":
            return tier.test_here(where, rest, parts)
        with alone(where):
            if chosen.action == "up":
                up(where, mode)
                print(f"export KUBECONFIG={where.kubeconfig}")
            elif chosen.action == "build":
                check(where, built=all(folder.is_dir() for folder in needed(where).values()))
                build(where)
            elif chosen.action == "images":
                if running(where) is None:
                    raise BuildError("No Kubernetes is up, nor its registry: run `make kube-up`.")
                tier.put_images_here(where)
            else:
                return int(bool(down(where)))
    except BuildError as error:
        print(f"kube-{chosen.action}: {error}", file=sys.stderr)
        return tier.BROKEN if chosen.action == "test" else 1
    except Exception:
        if chosen.action != "test":
            raise
        # Python's own code for it is that of failed tests.
        traceback.print_exc()
        return tier.BROKEN
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0


def interrupted(number: int, frame: object) -> None:
    """Treat a request to end as an interruption, so that what was started is taken down."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    sys.exit(main(sys.argv[1:]))
