"""Looking for what a notebook has above its image.

    .venv/bin/python -m benchmarks.environment [--json]

A site-packages with 400 packages of 60 files each is made, as `pip install` leaves them, and
compared with an image:

same place
    The image's own packages, which the notebook shares; two packages of the user's lie above them.
another place
    A virtual environment with all that the image has, in a folder of its own: what lies there and
    belongs to no package has to be found too.
all differ
    Such an environment, each of whose packages is newer than the image's.

Looking at what is there reads lists and no code; packing it is not in these numbers.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks._measure import Summary, alternate, finish, options, seconds, table
from facility.environment.difference import Image, difference

PACKAGES, FILES = 400, 60


def install(site: Path, name: str, version: str, files: int = FILES) -> None:
    """Write an installed package, as an installer leaves it."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py3-none-any\n")
    paths = [f"{name}/__init__.py", *(f"{name}/part/module_{n}.py" for n in range(files))]
    for path in paths[:2]:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).touch()
    lines = [f"{path},sha256={'a' * 43},1234" for path in paths]
    lines += [f"{info.name}/WHEEL,,", f"{info.name}/RECORD,,"]
    (info / "RECORD").write_text("\n".join(lines) + "\n")


def measure(packages: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that looking takes, by what there is."""
    with tempfile.TemporaryDirectory() as folder:
        site, user = Path(folder) / "site-packages", Path(folder) / "user" / "site-packages"
        names = [f"package_{number}" for number in range(packages)]
        for name in names:
            install(site, name, "1.0")
        for name in ("package_0", "lacking"):
            install(user, name, "2.0")
        same = {name.replace("_", "-"): "1.0" for name in names}
        places = [str(user), str(site)]
        images = {
            "same place": Image("3.13.5", "x86_64", same, [str(site)]),
            "another place": Image("3.13.5", "x86_64", same),
            "all differ": Image("3.13.5", "x86_64", dict.fromkeys(same, "0.9")),
        }

        def look(image: Image, least: int) -> None:
            found = difference(places, image)
            assert len(found.parts) >= least, found.left

        ways = {
            name: seconds(partial(look, image, packages if name == "all differ" else 2))
            for name, image in images.items()
        }
        return alternate(ways, rounds=rounds)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    arguments = options(str(__doc__).partition("\n")[0], rounds=7).parse_args(argv)
    samples = measure(20 if arguments.smallest else PACKAGES, arguments.rounds)
    rows = {name: Summary.of(values) for name, values in samples.items()}
    results = {f"{name.replace(' ', '_')}_s": row for name, row in rows.items()}
    finish(results, json=arguments.json, table=table(rows))


if __name__ == "__main__":
    main()
