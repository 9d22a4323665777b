"""The functions' code as a zip: the same from the same, and pip's refusals as sentences."""

import io
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from keyborn.adapters.aws import package
from keyborn.adapters.aws.package import Package, Target, build_package, pack
from keyborn.adapters.aws.roots import ROOTS_NAME, amazon_roots, roots_for
from keyborn.domain.errors import InvalidSetting, PackageNotBuilt

ROOT = Path(__file__).resolve().parents[3]
ARM = Target("arm64", "python3.13")
UNBORN = Target("arm64", "python3.19")
"""A Python that no machine has, and so no bytecode."""
OURS = Target("arm64", f"python3.{sys.version_info.minor}")
LATER = {
    "keyborn.adapters.asking",  # for groups that ask others; an enrolment of such a group imports it
    "keyborn.adapters.aws.amazon-roots.pem",
    "keyborn.wiring.function_enroll",
    "keyborn.wiring.function_sweep",
}
"""What the functions read or import beside what wiring/aws.py does."""
FINGERPRINTS = [  # https://www.amazontrust.com/repository
    "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
]


class Pip:
    """Stands where pip does: lays down files, and remembers what it was told."""

    def __init__(self, files: dict[str, str] | None = None, error: str = "") -> None:
        self.files = files or {}
        self.error = error
        self.order: list[str] = []

    def __call__(self, order: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        self.order = list(order)
        folder = Path(order[order.index("--target") + 1])
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return subprocess.CompletedProcess(order, 1 if self.error else 0, "", self.error)

    def told(self, option: str) -> list[str]:
        return [self.order[n + 1] for n, word in enumerate(self.order) if word == option]


def names(built: Package) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(built.data)) as archive:
        return set(archive.namelist())


def test_pip_is_told_the_platform_and_to_trust_hashes_alone() -> None:
    pip = Pip()
    build_package(ARM, run=pip)
    assert pip.told("--platform") == ["manylinux2014_aarch64", "manylinux_2_28_aarch64"]
    assert pip.told("--python-version") == ["3.13"]
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} <= set(pip.order)


def test_an_older_runtime_gets_wheels_for_its_older_system() -> None:
    pip = Pip()
    build_package(Target("x86_64", "python3.11"), run=pip)
    assert pip.told("--platform") == ["manylinux2014_x86_64"]


def test_the_same_contents_are_the_same_bytes_whatever_their_order() -> None:
    one = pack({"b.py": b"2", "a/b.py": b"1"})
    assert pack({"a/b.py": b"1", "b.py": b"2"}) == one
    assert one.key == f"keyborn/{one.digest}.zip"
    assert re.fullmatch("[0-9a-f]{64}", one.digest)
    assert one.unpacked == 2


@pytest.mark.parametrize("other", [{"a": b"b"}, {"a": b"", "b": b""}, {"a\0001\0b": b""}, {"b": b"a"}, {}])
def test_other_contents_are_another_digest(other: dict[str, bytes]) -> None:
    assert pack(other).digest != pack({"a": b"a"}).digest


def test_entries_are_plain_files_that_anybody_may_read_from_a_time_that_never_changes() -> None:
    with zipfile.ZipFile(io.BytesIO(pack({"a/b.so": b"x"}).data)) as archive:
        (entry,) = archive.infolist()
    assert entry.date_time == (1980, 1, 1, 0, 0, 0)
    assert stat.S_ISREG(entry.external_attr >> 16)
    assert stat.S_IMODE(entry.external_attr >> 16) == 0o644
    assert entry.create_system == 3


def test_what_no_function_runs_stays_at_home() -> None:
    found = names(build_package(UNBORN, run=Pip()))
    assert {"keyborn/wiring/function_enroll.py", "keyborn/wiring/function_sweep.py"} <= found
    assert {"keyborn/policies/device.json", "keyborn/adapters/aws/amazon-roots.pem"} <= found
    rooms = {name.split("/")[1] for name in found}
    assert not rooms & {"cli", "device", "testing"}
    assert not [name for name in found if name.endswith(".pyc") or "broker" in name or "/sql/" in name]


def test_of_the_edges_exactly_that_goes_along_which_the_functions_import() -> None:
    """What is new on a server of one's own does not become a part of the functions unseen, or miss there."""
    order = [sys.executable, "-c", "import sys, keyborn.wiring.aws; print(*sys.modules)"]
    loaded = subprocess.run(order, capture_output=True, text=True, check=True).stdout.split()
    imported = {name for name in loaded if name.startswith("keyborn.")}
    found = {name for name in names(build_package(UNBORN, run=Pip())) if name.startswith("keyborn/")}
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in found}
    edges = ("keyborn.adapters.", "keyborn.http.", "keyborn.wiring.")
    assert imported - modules == set()
    assert {name for name in modules - imported if name.startswith(edges)} == LATER


def test_of_botocore_only_the_services_that_are_called_go_along() -> None:
    files = {
        f"botocore/data/{one}/2015/service-2.json": "{}" for one in ("dynamodb", "iot", "iot-data", "ec2")
    }
    found = names(build_package(ARM, run=Pip({**files, "botocore/data/endpoints.json": "{}"})))
    services = {name.split("/")[2] for name in found if name.startswith("botocore/data/")}
    assert services == {"dynamodb", "iot", "iot-data", "endpoints.json"}


def test_bytecode_goes_along_where_the_target_s_python_is_at_hand() -> None:
    built = build_package(OURS, run=Pip())
    assert built.compiled
    assert f"keyborn/ports/__pycache__/registry.{sys.implementation.cache_tag}.pyc" in names(built)
    assert not build_package(UNBORN, run=Pip()).compiled


def test_whichever_python_of_one_version_compiled_it_the_digest_is_the_same() -> None:
    one, other = ({"a.py": b"1", "__pycache__/a.cpython-313.pyc": code} for code in (b"x", b"yz"))
    assert pack(one).digest == pack(other).digest
    assert pack(one).digest != pack({"a.py": b"1"}).digest


def test_what_tells_of_the_machine_that_built_it_stays_behind() -> None:
    left = {f"x-1.dist-info/{name}": "/home/me" for name in ("RECORD", "INSTALLER", "direct_url.json")}
    pip = Pip(
        {**left, "bin/x": "#!/home/me", "x/__pycache__/x.pyc": "", "x-1.dist-info/WHEEL": "", "x.py": ""}
    )
    found = {name for name in names(build_package(UNBORN, run=pip)) if not name.startswith("keyborn/")}
    assert found == {"x-1.dist-info/WHEEL", "x.py"}


def test_roots_of_ones_own_go_along_and_are_found_there(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\n"
    built = build_package(ARM, roots=pem.encode(), run=Pip())
    zipfile.ZipFile(io.BytesIO(built.data)).extract(ROOTS_NAME, tmp_path)
    assert roots_for(tmp_path) == pem
    assert built.digest != build_package(ARM, run=Pip()).digest


def test_without_them_devices_trust_amazon(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    roots = x509.load_pem_x509_certificates(roots_for(tmp_path).encode())
    assert [root.fingerprint(SHA256()).hex() for root in roots] == FINGERPRINTS
    assert amazon_roots().isascii()


def test_what_pip_says_is_told_in_one_sentence() -> None:
    said = "WARNING: x\nERROR: Could not find a version\nERROR: No matching distribution found for msgspec\n"
    with pytest.raises(PackageNotBuilt) as caught:
        build_package(ARM, run=Pip(error=said))
    assert "No matching distribution found for msgspec; can pip reach its index?" in str(caught.value)
    assert "Nothing in AWS has changed" in str(caught.value)


def test_a_pip_that_does_not_run_is_a_refusal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(PackageNotBuilt, match="FileNotFoundError"):
        build_package(ARM)


def test_what_lambda_would_not_take_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MOST_UNPACKED", 3)
    with pytest.raises(PackageNotBuilt, match="4 bytes"):
        pack({"a": b"1234"})


@pytest.mark.parametrize(
    ("architecture", "runtime"),
    [("arm", "python3.13"), ("aarch64", "python3.13"), ("arm64", "python3.9"), ("arm64", "3.13"), ("", "")],
)
def test_a_target_that_lambda_does_not_have_is_refused(architecture: str, runtime: str) -> None:
    with pytest.raises(InvalidSetting):
        Target(architecture, runtime)


def blocks(path: Path) -> dict[str, str]:
    """Pins of a lock file with their hashes, by name; markers left out."""
    found = re.split(r"\n(?=\S)", path.read_text())
    pins = (re.sub(r" ;.*? \\$", r" \\", block.strip(), count=1, flags=re.MULTILINE) for block in found)
    return {block.partition("==")[0]: block for block in pins if not block.startswith("#")}


def test_the_functions_are_made_of_what_the_tests_run_with() -> None:
    functions, tests = (
        blocks(ROOT / "src/keyborn/adapters/aws/function.lock"),
        blocks(ROOT / "requirements/dev.lock"),
    )
    assert len(functions) >= 10
    assert {name: tests[name] for name in functions} == functions
    assert all("--hash=sha256:" in block for block in functions.values())
