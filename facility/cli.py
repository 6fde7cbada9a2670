"""The `facility` command. Nothing heavy is imported before a subcommand needs it."""

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from facility.dask_process.loading import with_dask
from facility.errors import FacilityError
from facility.system.private_files import is_full, refusal
from facility.wording import counted

if TYPE_CHECKING:
    from facility.hub.kubernetes.admin import Administration

GOOD, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
CODECS = ("ZSTD", "LZMA", "LZ4", "ZLIB")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        Arguments without the program's name, by default those of the process.

    Returns
    -------
    int
        0, or 1 for a mistake in what was given or something missing; wrong usage
        exits with 2.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = parse(words)
        if arguments.run is None:
            arguments.parser.print_help(sys.stderr)
            return USAGE
        with with_dask():
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except FacilityError as error:
        print(f"facility: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("facility: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, a pager) has enough; the interpreter's own flush must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        told = error.strerror or str(error)
        if where and is_full(error):
            told = refusal(error, Path(error.filename), "use a folder")
        print(f"facility: {where}{told}", file=sys.stderr)
        return FAILED
    return code


class _Version(argparse.Action):
    """Tell the version; the commit is looked for only where somebody asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from facility import __version__
        from facility.version import described

        print(f"facility {described(__version__)}")
        parser.exit()


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read a command; what follows ``--`` is of a script, and becomes `rest`."""
    words = list(words)
    own = words[: words.index("--")] if "--" in words[1:] else words
    rest = argparse.Namespace(rest=words[len(own) + 1 :])
    return build_parser(own).parse_args(own, rest)


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Describe the command line.

    Parameters
    ----------
    words
        What was given. The hub's options are read from its own module, which is
        imported only where `hub` is among these words.
    """
    parser = argparse.ArgumentParser(
        prog="facility", description="An analysis facility: pools, Dask clusters, hub."
    )
    parser.set_defaults(run=None, parser=parser)
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show release and commit, and end"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    pools = _command(commands, "pools", _pools, "show the pools")
    pools.add_argument("--config", metavar="FILE", help="a pools.yaml (default: search for one)")

    clusters = _command(commands, "clusters", _clusters, "show your Dask clusters")
    within = clusters.add_subparsers(title="commands", metavar="COMMAND")
    stop = _command(within, "stop", _stop, "end a Dask cluster")
    which = stop.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", metavar="NAME", help="the Dask cluster to end")
    which.add_argument("--all", action="store_true", help="end all of them")

    for parser_ in (clusters, stop):
        parser_.add_argument(
            "--user",
            action="append",
            default=[],
            metavar="USER",
            help="in the hub's pod: those of this user; may be given several times",
        )
        parser_.add_argument(
            "--everybody", action="store_true", help="in the hub's pod: those of all users"
        )

    tenants = _command(commands, "tenants", None, "look after users' namespaces, in the hub's pod")
    within = tenants.add_subparsers(title="commands", metavar="COMMAND")
    _command(within, "list", _tenants, "show users' namespaces and what is in them")
    prune = _command(within, "prune", _prune, "delete namespaces that are no longer used")
    prune.add_argument(
        "--unused-days",
        type=_at_least(0),
        default=365,
        help="days for which they were not used (%(default)s)",
    )
    prune.add_argument("--yes", action="store_true", help="delete, instead of saying what would be")
    revoke = _command(
        within, "revoke", _revoke, "end all that a user holds: sessions, tokens, servers, jobs"
    )
    revoke.add_argument("user", metavar="USER", help="the user, as the hub knows them")

    config = _command(commands, "config", None, "check a pools.yaml, or print its schema")
    within = config.add_subparsers(title="commands", metavar="COMMAND")
    check = _command(within, "check", _check, "tell every mistake in a pools.yaml")
    check.add_argument("file", metavar="FILE", help="a pools.yaml")
    _command(within, "schema", _schema, "print the JSON schema of a pools.yaml")

    sample = _command(commands, "sample", _sample, "write synthetic PHYSLITE files")
    sample.add_argument("out", metavar="OUT", type=Path, help="folder, made where it is missing")
    sample.add_argument(
        "--files", type=_at_least(1), default=4, help="number of files (%(default)s)"
    )
    sample.add_argument(
        "--events", type=_at_least(1), default=50_000, help="events in each file (%(default)s)"
    )
    sample.add_argument(
        "--seed",
        type=_at_least(0),
        default=1,
        help="of the random numbers: same seed, same events (%(default)s)",
    )
    sample.add_argument("--codec", choices=CODECS, default="ZSTD", help="compression (%(default)s)")
    sample.add_argument(
        "--level",
        type=_at_least(0, 9),
        default=5,
        help="level of compression, 0 to 9 (%(default)s)",
    )

    from facility.batch import command as batch
    from facility.jobs import command

    command.add(commands, _command)
    batch.add(commands, _command)

    hub = _command(commands, "hub", _hub, "run the hub on this machine")
    if "hub" in words[:1]:
        with _extra("hub"):
            from facility.hub.local import launcher
        launcher.add_arguments(hub)

    doctor = _command(commands, "doctor", _doctor, "say what is installed and what is missing")
    doctor.add_argument("--config", metavar="FILE", help="a pools.yaml (default: search for one)")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    text: str,
) -> argparse.ArgumentParser:
    """Add a subcommand; without `run` it needs one of its own subcommands."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run, parser=parser)
    return parser


def _at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """Make a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if number < least or (most is not None and number > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{number} is not {bounds}")
        return number

    return read


@contextmanager
def _extra(extra: str) -> Iterator[None]:
    """Say which optional part to install where a package of it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "facility"):
            raise
        raise FacilityError(
            f"the package {package!r} is missing; install it with: pip install 'facility[{extra}]'"
        ) from None


def _pools(arguments: argparse.Namespace) -> int:
    from facility.config import load
    from facility.deploy.launch import pools

    config = load(arguments.config)
    print(f"Pools from {config.source}:")
    print(pools(config))
    return GOOD


def _clusters(arguments: argparse.Namespace) -> int:
    if arguments.user or arguments.everybody:
        print(_administration().clusters(arguments.user))
        _in_trail(("clusters",), ",".join(arguments.user), "done")
        return GOOD
    from facility.deploy import launch

    print(launch.clusters())
    return GOOD


def _stop(arguments: argparse.Namespace) -> int:
    if arguments.user or arguments.everybody:
        if arguments.everybody and arguments.name:
            raise FacilityError("--everybody ends all of them; name one with --user")
        words, users = ("clusters", "stop", arguments.name or "--all"), ",".join(arguments.user)
        try:
            count = _administration().stop(arguments.user, arguments.name or "")
        except FacilityError:
            _in_trail(words, users, "failed")
            raise
        _in_trail(words, users, "done")
        print(f"{counted(count, 'Dask cluster is', 'Dask clusters are')} ended.")
        return GOOD
    from facility.deploy import launch

    chosen = [arguments.name]
    if arguments.all:
        chosen = [str(row["name"]) for row in launch.clusters()]
        if not chosen:
            print("There is no Dask cluster to end.")
    for name in chosen:
        launch.stop(name)
        print(f"Dask cluster {name} is ended.")
    return GOOD


def _administration() -> "Administration":
    with _extra("hub"):
        from facility.hub.kubernetes.admin import Administration
    return Administration()


def _tenants(arguments: argparse.Namespace) -> int:
    print(_administration().tenants())
    _in_trail(("tenants", "list"), "", "done")
    return GOOD


def _in_trail(words: Sequence[str], about: str, outcome: str) -> None:
    """Tell the hub's audit trail what an administrator has done."""
    from facility.hub.kubernetes import audit

    audit.command(words, about, outcome)


def _prune(arguments: argparse.Namespace) -> int:
    administration = _administration()
    now = datetime.datetime.now(datetime.UTC)
    found = administration.unused(arguments.unused_days, now)
    failed = administration.stuck(now)
    for user, namespace, volumes in found:
        lost = f" with its volumes {volumes}" if volumes else ""
        if arguments.yes:
            try:
                administration.remove(namespace)
            except FacilityError as error:
                failed.append(str(error))
                _in_trail(("tenants", "prune", namespace), user, "failed")
                continue
            _in_trail(("tenants", "prune", namespace), user, "done")
            print(f"{namespace} of {user}: deleted{lost}.")
        else:
            print(f"{namespace} of {user} would be deleted{lost}.")
    if not found:
        days = counted(arguments.unused_days, "day")
        print(f"Every namespace was used within {days}, or is in use.")
    elif not arguments.yes:
        print("Nothing is deleted yet; say --yes for that.")
    for said in failed:
        print(f"Left: {said}")
    return FAILED if failed else GOOD


def _revoke(arguments: argparse.Namespace) -> int:
    administration = _administration()
    from facility.hub.kubernetes.release import read_secrets, read_site
    from facility.hub.kubernetes.revocation import Hub

    hub = Hub(read_secrets()["cookie-secret"], read_site().values.hub.base_url)
    revoked = administration.revoke(arguments.user, hub)
    print(f"Ended of {arguments.user}: {', '.join(revoked.done) or 'nothing'}.")
    for said in revoked.left:
        print(f"Left: {said}")
    _in_trail(("tenants", "revoke"), arguments.user, "failed" if revoked.left else "done")
    if not revoked.left:
        print("They can log in again: block them where they log in first.")
    return FAILED if revoked.left else GOOD


def _check(arguments: argparse.Namespace) -> int:
    from facility.config import load, names_of

    config = load(Path(arguments.file))
    print(f"{arguments.file} is good. Its pools: {names_of(config)}.")
    return GOOD


def _schema(arguments: argparse.Namespace) -> int:
    from facility.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return GOOD


def _sample(arguments: argparse.Namespace) -> int:
    with _extra("analysis"):
        from facility.analysis.samples import physlite_files

        paths = physlite_files.write_files(
            arguments.out,
            arguments.files,
            arguments.events,
            seed=arguments.seed,
            codec=arguments.codec,
            level=arguments.level,
        )
    size = sum(path.stat().st_size for path in paths) / 1e6
    events = f"{len(paths):,} of {counted(arguments.events, 'event')} each"
    print(f"The files, {events}, are in {arguments.out} ({size:.1f} MB).")
    return GOOD


def _hub(arguments: argparse.Namespace) -> int:
    from facility.hub.local import launcher

    return launcher.run(arguments)


def _doctor(arguments: argparse.Namespace) -> int:
    from facility.doctor import examine

    diagnosis = examine(arguments.config)
    print(diagnosis)
    return FAILED if diagnosis.missing else GOOD
