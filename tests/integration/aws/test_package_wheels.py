"""The real zip: wheels for the platform that was asked for, and everything that the functions import."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from keyborn.adapters.aws.package import MACHINES, Target, build_package, pack
from keyborn.adapters.aws.roots import ROOTS_NAME
from support import ministack, packages

ENVIRONMENT = {
    "KEYBORN_STACK": "s",
    "KEYBORN_TABLE": "s-table",
    "KEYBORN_IOT_ARN": "arn:aws:iot:eu-central-1:123456789012",
    "KEYBORN_THING_TYPE": "s_device",
    "KEYBORN_POLICY_PREFIX": "s_",
    "KEYBORN_MQTT_ENDPOINT": "broker.example",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
}
"""Of functions that AWS does not know; the secret key is none of the stand-in's."""
IMPORT = """
import sys
sys.path[:0] = [sys.argv[1]]
import importlib
for name in sys.argv[2:]:
    assert callable(importlib.import_module(name).handler)
here = [m.__file__ for m in list(sys.modules.values()) if "-packages" in (getattr(m, "__file__", None) or "")]
assert not here, here
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"boto3", "httptools", "click", "paho", "sqlite3"}))
"""


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is built is kept for a run."""
    return packages.run_folder(tmp_path_factory)


@pytest.mark.whole
@pytest.mark.parametrize("architecture", MACHINES)
def test_every_compiled_wheel_is_for_the_architecture(architecture: str) -> None:
    target = Target(architecture, "python3.13")
    with zipfile.ZipFile(io.BytesIO(packages.built(target).data)) as archive:
        wheels = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        tags = {
            name: re.findall(r"^Tag: (\S+)", archive.read(name).decode(), re.MULTILINE) for name in wheels
        }
        objects = {
            name: archive.read(name)[18:20] for name in archive.namelist() if re.search(r"\.so(\.|$)", name)
        }
    assert len(wheels) >= 10
    compiled = {name for name, all_of in tags.items() if not any(tag.endswith("-any") for tag in all_of)}
    assert {name.partition("-")[0] for name in compiled} >= {"cffi", "cryptography", "msgspec"}
    for name in compiled:
        assert all(tag.endswith(MACHINES[architecture]) and "manylinux" in tag for tag in tags[name]), tags[
            name
        ]
    machine = {"arm64": 0xB7, "x86_64": 0x3E}[architecture]  # e_machine of the ELF header
    assert len(objects) >= 3
    assert {int.from_bytes(one, "little") for one in objects.values()} == {machine}


@pytest.mark.whole
def test_building_it_again_gives_the_same_zip(run: Path) -> None:
    target = packages.own_target()
    assert build_package(target) == packages.kept(run, target)


def test_what_a_run_keeps_is_with_roots_what_would_be_built_with_them(run: Path) -> None:
    kept = packages.kept(run, packages.own_target())
    with zipfile.ZipFile(io.BytesIO(kept.data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    whole, again = (
        pack(contents | {ROOTS_NAME: b"roots"}),
        packages.kept(run, packages.own_target(), roots=b"roots"),
    )
    assert (again.digest, again.unpacked, again.compiled) == (whole.digest, whole.unpacked, whole.compiled)
    assert zipfile.ZipFile(io.BytesIO(again.data)).read(ROOTS_NAME) == b"roots"
    assert pack(contents) == kept


def test_it_is_small_enough_to_be_sent_in_one_piece(run: Path, figure: Callable[[str], None]) -> None:
    built = packages.kept(run, packages.own_target())
    figure(f"the functions' code: {len(built.data) / 1e6:.1f} MB, {built.unpacked / 1e6:.1f} MB unpacked")
    assert len(built.data) < 50_000_000  # Lambda Developer Guide, "Lambda quotas"


@pytest.mark.parametrize(
    ("function", "said"),
    [("function_enroll", "the start was not prepared: AwsRefused\n"), ("function_sweep", "")],
)
def test_each_function_starts_from_the_unzipped_folder_alone(
    run: Path, tmp_path: Path, function: str, said: str
) -> None:
    built = packages.kept(run, packages.own_target())
    zipfile.ZipFile(io.BytesIO(built.data)).extractall(tmp_path)
    order = [sys.executable, "-I", "-S", "-c", IMPORT, str(tmp_path), f"keyborn.wiring.{function}"]
    environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": ministack.shared().url}
    done = subprocess.run(order, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, said)
    assert done.stdout.strip() == "[]"
