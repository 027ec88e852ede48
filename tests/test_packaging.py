"""
What gets built and installed, and that Twisted finds it there.

A wheel, and an editable install, each in a virtual environment of its own. Those see the
libraries of the environment that the tests run in, but not its relay: a ``.pth`` file that is
reached through another one is not read.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from fnmatch import fnmatch
from pathlib import Path
from shutil import copytree, ignore_patterns

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.load import PLACES
from smtprelay.version import VERSION

ROOT = Path(__file__).parents[1]
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "README.rst", "LICENSE", "smtprelay", "twisted")
IGNORED = ("/.git", *(line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()))


def tracked(folder: Path) -> Iterator[str]:
    """Return the files of the checkout, without those that git is told to ignore."""
    for path in folder.iterdir():
        # A pattern with a slash before it is one of the root.
        if any(fnmatch(name, each) for name in (path.name, f"/{path.relative_to(ROOT)}") for each in IGNORED):
            continue
        if path.is_dir():
            yield from tracked(path)
        else:
            yield str(path.relative_to(ROOT))


def run(*command: object, folder: Path = Path("/")) -> str:
    """Run a command that must succeed, away from the checkout, and return what it printed."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        check=False,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise AssertionError(f"{command}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Environment:
    """A virtual environment in ``folder``, with our libraries and without our relay."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / "bin" / "python"
        self.scripts = folder / "bin"
        (site,) = folder.glob("lib/python*/site-packages")
        paths = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
        (site / "libraries.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))

    def install(self, *arguments: object) -> None:
        """Have pip install, without any index."""
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python)
        run(
            *pip,
            "install",
            "--quiet",
            "--no-compile",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            *arguments,
        )

    def twistd_help(self) -> str:
        """Return what ``twistd --help`` prints here."""
        return run(self.python, "-c", "from twisted.scripts.twistd import run; run()", "--help")


class PackagingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.checkout = self.folder / "checkout"

    def test_release(self) -> None:
        """
        The source distribution is the whole checkout, and can be tested; its wheel installs.

        The wheel holds the relay, all of it, and the plugin; nothing else.
        """
        for name in tracked(ROOT):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (self.checkout / name).write_bytes((ROOT / name).read_bytes())
        # Without more words it makes the source distribution, and the wheel of that.
        run(sys.executable, "-m", "build", "--no-isolation", "-o", self.folder, self.checkout)
        (archive,) = self.folder.glob("*.tar.gz")
        (wheel,) = self.folder.glob("*.whl")
        self.check_source(archive)
        self.check_content(wheel)
        self.check_metadata(wheel)
        environment = Environment(self.folder / "venv")
        self.assertNotIn("smtprelay", environment.twistd_help())
        environment.install(wheel)
        self.assertIn("smtprelay", environment.twistd_help())
        self.assertEqual(run(environment.scripts / "smtprelay", "--version"), f"smtprelay {VERSION}\n")
        example = run(environment.scripts / "smtprelay", "config", "example")
        self.assertEqual(example, (ROOT / "etc" / "smtprelay.yaml").read_text("utf-8"))

    def check_source(self, archive: Path) -> None:
        """Nothing of the checkout is missing; tests run in it, also those that read documents."""
        with tarfile.open(archive) as held:
            held.extractall(self.folder, filter="data")
        unpacked = self.folder / archive.name.removesuffix(".tar.gz")
        self.assertEqual([name for name in tracked(ROOT) if not (unpacked / name).is_file()], [])
        tests = ("tests.model.test_message_id", "tests.test_architecture")
        run(sys.executable, "-m", "twisted.trial", *tests, folder=unpacked)

    def check_content(self, wheel: Path) -> None:
        """It holds what it should, and no more."""
        held = set(zipfile.ZipFile(wheel).namelist())
        ours = {
            str(path.relative_to(ROOT))
            for path in (ROOT / "smtprelay").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        rest = {name for name in held - ours if ".dist-info/" not in name}
        self.assertEqual((ours - held, rest), (set(), {"twisted/plugins/smtprelay_dropin.py"}))

    def check_metadata(self, wheel: Path) -> None:
        """The licence is named as SPDX does, its text is there, and no extra brings what nothing imports."""
        with zipfile.ZipFile(wheel) as held:
            (name,) = [name for name in held.namelist() if name.endswith("/METADATA")]
            metadata = message_from_bytes(held.read(name))
        self.assertEqual(metadata["License-Expression"], "MIT")
        self.assertEqual((metadata["License"], metadata["License-File"]), (None, "LICENSE"))
        extras = {"all", "aws", "azure", "postgres", "vault", "bench", "dev", "fuzz", "interop"}
        self.assertEqual(set(metadata.get_all("Provides-Extra")), extras)

    def test_editable(self) -> None:
        """An editable install is found by Twisted too, from any folder."""
        self.checkout.mkdir(parents=True)
        for name in SOURCES:
            if (ROOT / name).is_dir():
                ignored = ignore_patterns("__pycache__", "dropin.cache")
                copytree(ROOT / name, self.checkout / name, ignore=ignored)
            else:
                (self.checkout / name).write_bytes((ROOT / name).read_bytes())
        environment = Environment(self.folder / "venv")
        environment.install("--editable", self.checkout)
        self.assertIn("smtprelay", environment.twistd_help())
        script = "import smtprelay; print(smtprelay.__path__[0])"
        self.assertEqual(run(environment.python, "-c", script), f"{self.checkout}/smtprelay\n")


class ImageTests(SynchronousTestCase):
    """The Dockerfile."""

    def setUp(self) -> None:
        text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
        self.lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.lines if name == instruction]

    def test_configuration(self) -> None:
        """A variable says where it is, so that all commands know; nothing finds the sample by mistake."""
        self.assertIn("SMTPRELAY_CONFIG=/etc/smtprelay/smtprelay.yaml", " ".join(self.values("ENV")))
        self.assertEqual(self.values("CMD"), [])
        self.assertNotIn("-c", json.loads(self.values("ENTRYPOINT")[0]))
        [sample] = [value.split()[1] for value in self.values("COPY") if value.startswith("etc/")]
        self.assertNotIn(sample, PLACES)

    def test_health(self) -> None:
        """The health check is the command that looks for the relay, without a place of its own."""
        [health] = self.values("HEALTHCHECK")
        self.assertEqual(json.loads(health.partition("CMD ")[2]), ["smtprelay", "healthcheck"])

    def test_context(self) -> None:
        """What is copied is there, and is not kept out of the build."""
        let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")]
        copied = [value.split()[:-1] for value in self.values("COPY") if not value.startswith("--from")]
        for name in [name for names in copied for name in names]:
            self.assertIn(name, let_in)
            self.assertTrue((ROOT / name).exists(), name)

    def test_base(self) -> None:
        """Both stages are from one image, which can be another."""
        self.assertEqual(len(self.values("ARG")), 1)
        self.assertEqual({value.split()[0] for value in self.values("FROM")}, {"${PYTHON_IMAGE}"})
