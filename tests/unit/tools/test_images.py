"""The list of images, and how packages are unpacked; containers have tests of their own."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

from facility.hub.kubernetes.release import read_values
from facility.worker.software import PYTHON_OF_IMAGES
from tools import emulation
from tools.building import BuildError
from tools.images import __main__ as program
from tools.images import catalog, debian, packages
from tools.images.registry import Registry

IMAGES = catalog.read()


def write(folder: Path, text: str, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "Containerfile").touch()
    path = folder / "images.yaml"
    path.write_text(text)
    return path


def test_the_list_has_parents_before_children():
    assert list(IMAGES) == ["base", "operator", "hub", "analysis", "analysis-gpu"]
    assert [each.name for each in catalog.ancestors(IMAGES["analysis-gpu"], IMAGES)] == [
        "analysis",
        "base",
    ]
    assert IMAGES["base"].parent == debian.BASE


def test_every_image_has_the_python_that_the_package_names():
    files = [*catalog.FOLDER.glob("*/*Containerfile"), catalog.FOLDER / "base" / "smoke.py"]
    named = {found for path in files for found in re.findall(r"python(3\.\d+)", path.read_text())}
    assert named == {PYTHON_OF_IMAGES}


def test_all_that_is_wrong_with_the_list_is_told(tmp_path):
    text = """
    one: {parent: two, architectures: [amd64], description: x}
    two: {parent: registry.example/debian, architectures: [x86], description: x, exstras: []}
    three: {parent: registry.example/debian, architectures: [riscv], description: x}
    four: {parent: three, architectures: [amd64], description: x}
    five: {architectures: [amd64]}
    """
    with pytest.raises(BuildError) as caught:
        catalog.read(write(tmp_path, text, "one", "two", "three"))
    said = str(caught.value)
    assert "one.parent: no image 'two' stands above it" in said
    assert "two.exstras: unknown key; valid are" in said
    assert "three.architectures: 'riscv' is none of amd64, arm64" in said
    assert "four.architectures: its parent three is not built for amd64" in said
    assert "four: four/Containerfile is missing" in said
    assert "five.description: missing" in said
    assert "five.parent: missing" in said


def test_an_unknown_image_is_told_with_those_there_are():
    with pytest.raises(BuildError, match="no image analysys: valid are base, operator, hub"):
        catalog.choose(["analysys"], IMAGES)


def test_an_image_comes_with_its_parents():
    assert [each.name for each in catalog.choose(["analysis-gpu"], IMAGES)] == [
        "base",
        "analysis",
        "analysis-gpu",
    ]
    assert len(catalog.choose([], IMAGES)) == len(IMAGES)


def test_an_image_says_what_it_and_its_parents_are_made_of():
    found = catalog.describe(IMAGES["analysis-gpu"], IMAGES)
    assert found["name"] == "analysis-gpu"
    assert found["parent"] == "analysis"
    assert found["lock"] == IMAGES["analysis-gpu"].lock_hash()
    assert found["parents"]["analysis"] == IMAGES["analysis"].lock_hash()
    assert json.dumps(found)


def test_what_an_image_is_made_of_changes_its_key(monkeypatch):
    image = IMAGES["analysis"]
    keys = {
        catalog.key(image, "amd64", "parent", "package", "1"),
        catalog.key(image, "arm64", "parent", "package", "1"),
        catalog.key(image, "amd64", "other", "package", "1"),
        catalog.key(image, "amd64", "parent", "other", "1"),
        catalog.key(IMAGES["hub"], "amd64", "parent", "package", "1"),
    }
    assert len(keys) == 5
    # Without the package in it, the package makes no difference.
    operator = IMAGES["operator"]
    assert catalog.key(operator, "amd64", "p", "x", "1") == catalog.key(
        operator, "amd64", "p", "y", "1"
    )


def test_what_packages_are_made_of_changes_their_key():
    image = IMAGES["analysis"]
    keys = {
        catalog.packages_key(image, "parent", ["packages-1"]),
        catalog.packages_key(image, "other", ["packages-1"]),
        catalog.packages_key(image, "parent", ["packages-2"]),
        catalog.packages_key(IMAGES["hub"], "parent", ["packages-1"]),
    }
    assert len(keys) == 4


def test_children_are_built_upon_packages_and_not_upon_the_package_facility():
    image = IMAGES["analysis"]
    assert image.floor("amd64") == image.built("amd64").replace("analysis:", "analysis-packages:")
    assert IMAGES["base"].floor("arm64") == IMAGES["base"].built("arm64")


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda each: each.name)
def test_locks_have_hashes_and_hold_what_is_wanted(image):
    asked = image.extras or image.wanted.exists()
    assert bool(asked) == image.lock.exists()
    if asked:
        text = image.lock.read_text()
        assert "://" not in text
        blocks = text.split("\n")
        assert sum("==" in line for line in blocks) <= text.count("--hash=sha256:")
        wanted = image.wanted.read_text().splitlines() if image.wanted.exists() else []
        names = {line.split("=")[0].split(">")[0] for line in wanted if line and line[0] != "#"}
        assert names <= image.locked()


def test_images_have_the_versions_that_the_tests_ran_with():
    def versions(path: Path) -> dict[str, set[str]]:
        # A package that differs between platforms stands there more than once.
        found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^ ]+)", path.read_text(), re.M)
        return {name: {version for each, version in found if each == name} for name, _ in found}

    tested = versions(catalog.ROOT / "requirements.lock")
    for image in IMAGES.values():
        if image.lock.exists():
            found = versions(image.lock)
            differ = {
                name for name in found.keys() & tested.keys() if not found[name] <= tested[name]
            }
            assert not differ, f"{image.name}: run `make lock`"


def test_a_child_leaves_out_what_its_parent_has():
    text = "# about\na==1 \\\n    --hash=sha256:1\nb[extra]==2 \\\n    --hash=sha256:2\n"
    text += "    # via a\nc==3\n"
    assert packages.without(text, {"a", "b"}) == "# about\nc==3\n"
    assert packages.without(text, set()) == text


@pytest.mark.parametrize(
    ("text", "place", "plain"),
    [
        ("registry.example/facility", "registry.example/facility", False),
        ("https://registry.example/facility/", "registry.example/facility", False),
        ("http://127.0.0.1:5000", "127.0.0.1:5000", True),
        (" http://Registry_1:5000/a/b-c_d//", "Registry_1:5000/a/b-c_d", True),
        ("http://[fd00::1]:5000/x", "[fd00::1]:5000/x", True),
    ],
)
def test_a_registry_may_be_named_with_how_it_is_reached(text, place, plain):
    assert Registry.read(text, "--registry") == (place, plain)


@pytest.mark.parametrize(
    "text", ["", "ftp://r.example", "http://", "r.example/Upper", "r.example/a b", "r:x/a", "r/a:1"]
)
def test_what_names_no_registry_is_told(text, monkeypatch, capsys):
    with pytest.raises(BuildError, match="KUBE_TEST_REGISTRY is .* names no registry: write its"):
        Registry.read(text, "KUBE_TEST_REGISTRY")
    if text:
        assert program.main(["push", "--registry", text]) == 1
        assert capsys.readouterr().err.startswith("images: --registry is ")


def test_what_uv_unpacked_becomes_a_prefix(tmp_path):
    site = tmp_path / packages.SITE
    record = site / "thing-1.dist-info" / "RECORD"
    for path, text in {
        site / "thing" / "__init__.py": "",
        site / "bin" / "thing": "#!/elsewhere/bin/python3\nimport thing\n",
        site / "bin" / "script": "#!/bin/sh\ntrue\n",
        site / "share" / "jupyter" / "thing.json": "{}",
        record: "thing/__init__.py,,\nbin/thing,,\nshare/jupyter/thing.json,,\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    cached = tmp_path.with_name("cache-of-uv")
    cached.hardlink_to(site / "bin" / "thing")
    packages.settle(site, tmp_path)
    assert cached.read_text().startswith("#!/elsewhere/")
    cached.unlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bin", "lib", "share"]
    assert (tmp_path / "bin/thing").read_text() == "#!/opt/facility/bin/python\nimport thing\n"
    assert (tmp_path / "bin/script").read_text() == "#!/bin/sh\ntrue\n"
    for line in record.read_text().splitlines():
        assert (site / line.split(",")[0]).exists(), line


def test_a_package_that_does_not_match_its_hash_is_refused(tmp_path, monkeypatch):
    # No index is asked: the package is a file that is not what the lock says.
    wheel = tmp_path / "thing-1-py3-none-any.whl"
    wheel.write_bytes(b"something else")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"thing==1 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(packages, "LOGS", tmp_path / "logs")
    into = tmp_path / "into"
    words = ["--no-index", f"--find-links={tmp_path}", "--require-hashes", f"-r{wanted}"]
    with pytest.raises(BuildError, match="the packages could not be built; the last lines of"):
        packages.unpack(into, "arm64", words, "the packages")


def test_without_rights_emulation_is_refused_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(emulation, "BINFMT", tmp_path)
    monkeypatch.setattr(program.os, "getuid", lambda: 1000)
    with pytest.raises(BuildError, match="only root on an amd64 machine can set up"):
        program.emulation_for([IMAGES["base"]])


def test_a_disk_that_is_almost_full_is_told_before_anything_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "CACHE", tmp_path)
    monkeypatch.setattr(program, "SPACE", 1 << 60)
    with pytest.raises(BuildError, match=r"building hub needs 1073741824 GiB: make room"):
        program.check_space([IMAGES["hub"]])
    program.check_space([])


def test_the_emulator_stays_as_long_as_somebody_needs_it(monkeypatch, tmp_path):
    binfmt, holders = tmp_path / "binfmt", tmp_path / "holders"
    binfmt.mkdir()
    (binfmt / "register").touch()
    rule = tmp_path / "rule"
    rule.write_text("magic \\x7f\nmask \\xff\noffset 0\ninterpreter /usr/bin/qemu\n")
    monkeypatch.setattr(emulation, "BINFMT", binfmt)
    monkeypatch.setattr(emulation, "HOLDERS", holders)
    monkeypatch.setattr(emulation, "EMULATOR_RULE", rule)
    monkeypatch.setattr(emulation, "emulator", lambda own: own)
    taken_out = []
    monkeypatch.setattr(emulation, "take_out", lambda: taken_out.append(True))
    emulation.emulate("kubernetes")
    assert (binfmt / "register").read_text().startswith(":qemu-aarch64:M:0:")
    with emulation.emulating():
        assert emulation.is_held()
    assert not taken_out
    # A process that was killed does not count.
    (holders / "999999999").touch()
    emulation.stop_emulating("kubernetes")
    assert taken_out == [True]
    assert not holders.exists()


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("qemu-aarch64 version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)", True),
        ("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", False),
        ("", False),
        (None, False),
    ],
)
def test_the_emulator_is_one_that_is_quick(monkeypatch, tmp_path, capsys, said, own):
    program = tmp_path / "aarch64-binfmt-P"
    if said is not None:
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
    monkeypatch.setattr(emulation, "missing", lambda packages: [])
    newer = tmp_path / "newer"
    monkeypatch.setattr(emulation, "once", lambda *_: newer)
    assert emulation.emulator(program) == (program if own else newer / program.name)

    def fails(*_):
        raise BuildError("no network")

    monkeypatch.setattr(emulation, "once", fails)
    assert emulation.emulator(program) == program
    assert ("run slowly" in capsys.readouterr().out) is not own


def test_the_list_of_packages_is_written(monkeypatch, tmp_path):
    script = runpy.run_path(str(IMAGES["base"].folder / "write_sbom.py"))
    status = tmp_path / "status"
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n"
        "Description: text\n more: of it\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    names = script["main"].__globals__
    monkeypatch.setitem(names, "DPKG", status)
    release = tmp_path / "os-release"
    release.write_text('NAME="Debian GNU/Linux"\nVERSION_ID="13"\nVERSION="13 (trixie)"\n')
    monkeypatch.setitem(names, "RELEASE", release)
    monkeypatch.setitem(names, "SBOM", tmp_path / "sbom.json")
    image = tmp_path / "image.json"
    image.write_text(json.dumps({"name": "base", "version": "1"}))
    monkeypatch.setitem(names, "IMAGE", image)
    script["main"]()
    found = json.loads((tmp_path / "sbom.json").read_text())
    urls = {each["purl"] for each in found["components"]}
    assert "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-13" in urls
    assert any(url.startswith("pkg:pypi/distributed@") for url in urls)
    assert not any("gone" in url for url in urls)


def test_another_python_leaves_compiling_to_the_image_base(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packages, "PYTHON", "3.99")
    module = tmp_path / "module.py"
    module.write_text("x = 1\n")
    monkeypatch.setattr(packages.engine, "inspect", lambda reference: None)
    packages.compile_modules(tmp_path, None)
    assert "not compiled, which needs Python 3.99" in capsys.readouterr().out
    asked = []
    monkeypatch.setattr(packages.engine, "inspect", lambda reference: {"Id": reference})
    monkeypatch.setattr(packages.engine, "change", lambda *words: asked.append(words))
    packages.compile_modules(tmp_path, None)
    [(reference, _, command, folder, said)] = asked
    assert "/base:" in reference
    assert command[:3] == ["python3", "-m", "compileall"]
    assert (folder, said) == (tmp_path, str(module))


def test_what_is_compiled_for_one_architecture_serves_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "PYTHON", "{}.{}".format(*sys.version_info))
    trees = [tmp_path / name for name in ("amd64", "arm64")]
    for tree in trees:
        (tree / "pkg").mkdir(parents=True)
        (tree / "pkg" / "same.py").write_text("x = 1\n")
        (tree / "pkg" / "differs.py").write_text(f"x = {tree.name!r}\n")
        (tree / "pkg" / "broken.py").write_text("for another Python:\n")
    first, second = trees
    packages.compile_modules(first, None)
    packages.compile_modules(second, first)
    found = [sorted(path.name.split(".")[0] for path in tree.rglob("*.pyc")) for tree in trees]
    assert found == [["differs", "same"]] * 2
    pairs = [[next(tree.rglob(f"{name}.*.pyc")) for tree in trees] for name in ("same", "differs")]
    assert pairs[0][0].samefile(pairs[0][1])
    assert pairs[1][0].read_bytes() != pairs[1][1].read_bytes()
    # The second word says that nobody compares it with its source again.
    assert pairs[0][0].read_bytes()[4:8] == (1).to_bytes(4, "little")


def test_what_was_pushed_is_told_as_values_of_the_chart():
    place, digest = "registry.example:5000/team", f"sha256:{'0a' * 32}"
    pushed = {name: f"{place}/{name}@{digest}" for name in IMAGES}
    text = program.as_values(place, pushed)
    pool = {"default": True, "cpu": 1, "memory": "1Gi", "maxWorkers": 1}
    given = yaml.safe_load(text)
    given["hub"]["domain"] = "af.example.org"
    values = read_values({"pools": {"cpu": pool}, **given})
    assert values.images.registry == place
    assert values.server_image.reference("1") == pushed["analysis"]
    assert [each and each.digest for each in (values.hub.image, values.operator.image)] == [
        digest,
        digest,
    ]
    assert f"# image of a pool with GPUs: {pushed['analysis-gpu']}\n" in text
