"""`python -m tests.kube.bringup up|down|build|images|test`."""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kube.bringup import external, network, site
from tests.kube.bringup.build import build, needed
from tests.kube.bringup.down import down
from tests.kube.bringup.host import check
from tests.kube.bringup.places import Places, places
from tests.kube.bringup.up import running, up
from tools.building import BuildError, say
from tools.images import catalog, engine

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def alone(where: Places) -> Iterator[None]:
    """Hold the folder, so that no other run changes it meanwhile.

    Raises
    ------
    BuildError
        Another run holds it.
    """
    where.root.mkdir(parents=True, exist_ok=True)
    with (where.root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"Another run brings a Kubernetes up or down in {where.root}: wait for its end."
            ) from None
        yield


def put_images(where: Places) -> None:
    """Put the facility's images, as far as they are built, into the local registry.

    Pods name them by their digest, which stands in the file that says what runs. What all of them
    are built upon runs nowhere by itself.
    """
    state = json.loads(where.state.read_text())
    registry = state["registry"].partition("://")[2]
    images = catalog.read()
    for image in images.values():
        if image.parent in images and engine.inspect(image.reference) is not None:
            say(f"putting the image {image.name} into the local registry")
            name = f"facility/{image.name}"
            digest = engine.push(
                image.reference, f"{registry}/{name}:{catalog.version()}", plain=True
            )
            state["images"][image.name] = f"{site.REGISTRY}/{name}@{digest}"
    fresh = where.state.with_suffix(".new")
    fresh.write_text(json.dumps(state, indent=1))
    fresh.replace(where.state)


def test(where: Places, cidr_mode: str, arguments: list[str]) -> int:
    """Bring up, run the tests of the kube tier, and take down, also when they fail.

    The tests of the bring-up itself take the Kubernetes down at their end; see there.
    """
    code, left = 1, []
    try:
        up(where, cidr_mode)
        put_images(where)
        variables = os.environ | {"KUBE_TEST_STATE": str(where.state)}
        command = [sys.executable, "-m", "pytest", "tests/kube", "-m", "kube", *arguments]
        code = subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode
    finally:
        left = down(where)
    return code or int(bool(left))


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
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.action != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    mode = chosen.policy_cidr_match_mode
    try:
        where = places()
        other = external.from_environment(where)
        if chosen.action == "up" and other:
            external.use(where, other)
            return 0
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
                put_images(where)
            elif chosen.action == "test":
                return test(where, mode, rest)
            else:
                return int(bool(down(where)))
    except BuildError as error:
        print(f"kube-{chosen.action}: {error}", file=sys.stderr)
        return 1
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
