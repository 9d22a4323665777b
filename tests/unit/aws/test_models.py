"""The cut descriptions of services: what is called is in them, and clients made of them are the same."""

import gzip
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest

from keyborn.adapters.aws import package
from keyborn.adapters.aws.models import NOTICE, cut, cut_model

SERVICES = ("dynamodb", "iot", "iot-data")
REGIONS = ("eu-central-1", "us-east-1", "cn-north-1", "us-gov-west-1", "ap-mars-1")
SAGA = {
    "dynamodb": {"GetItem", "TransactGetItems", "TransactWriteItems", "UpdateItem", "Query"},
    "iot": {
        "CreateCertificateFromCsr",
        "CreateThing",
        "AttachPolicy",
        "AttachThingPrincipal",
        "UpdateCertificate",
        "DeleteCertificate",
    },
    "iot-data": {"DeleteConnection"},
}
"""Some of what must be there; that nothing is missing is shown by the functions of the zip at work."""


@cache
def whole() -> dict[str, bytes]:
    """The sources that the functions run, and what botocore knows of their services."""
    with as_file(files("botocore")) as folder:
        names = [path for one in SERVICES for path in (folder / "data" / one).rglob("*.json*")]
        names += (folder / "data").glob("*.json")
        data = {f"botocore/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in names}
    return data | package._ours()


@pytest.fixture(scope="module")
def smaller() -> dict[str, bytes]:
    return cut(whole())


@pytest.fixture(scope="module")
def folder(smaller: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """botocore's data folder as the functions have it."""
    root = tmp_path_factory.mktemp("cut")
    for name, data in smaller.items():
        if name.startswith("botocore/data/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    return root / "botocore" / "data"


def client(service: str, region: str, data: Path | None = None) -> Any:  # noqa: ANN401 - botocore's clients have no types
    """A client that reads ``data``, or what botocore brings."""
    session = botocore.session.Session()
    if data:
        loader = botocore.loaders.Loader(extra_search_paths=[str(data)], include_default_search_paths=False)
        session.register_component("data_loader", loader)
    keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "secret"}
    return session.create_client(service, region_name=region, **keys)


def model(contents: dict[str, bytes], service: str) -> dict[str, Any]:
    (name,) = [one for one in contents if one.startswith(f"botocore/data/{service}/") and "service-2" in one]
    data = contents[name]
    read: dict[str, Any] = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
    return read


@pytest.mark.parametrize("service", SERVICES)
def test_what_the_functions_call_is_there_and_the_rest_is_not(
    smaller: dict[str, bytes], service: str
) -> None:
    operations = set(model(smaller, service)["operations"])
    assert operations >= SAGA[service]
    everything = set(model(whole(), service)["operations"])
    assert operations < everything
    assert len(operations) <= 25


@pytest.mark.parametrize("service", SERVICES)
def test_an_operation_that_stays_is_described_as_before(smaller: dict[str, bytes], service: str) -> None:
    before, after = model(whole(), service), model(smaller, service)
    assert after["metadata"] == before["metadata"]
    for name, operation in after["operations"].items():
        assert operation == without_texts(before["operations"][name])
    for name, shape in after["shapes"].items():
        assert shape == without_texts(before["shapes"][name])


@pytest.mark.parametrize("service", SERVICES)
def test_every_shape_that_is_referred_to_is_there(smaller: dict[str, bytes], service: str) -> None:
    after = model(smaller, service)
    assert set(references(after)) == set(after["shapes"])


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("service", SERVICES)
def test_a_client_reaches_the_same_address_and_signs_for_the_same(
    folder: Path, service: str, region: str
) -> None:
    before, after = client(service, region), client(service, region, folder)
    assert after.meta.endpoint_url == before.meta.endpoint_url
    assert after._request_signer.signing_name == before._request_signer.signing_name
    assert after._request_signer.region_name == before._request_signer.region_name
    assert after.meta.region_name == before.meta.region_name


def test_arguments_are_checked_as_before(folder: Path) -> None:
    from botocore.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match="thingName"):
        client("iot", "eu-central-1", folder).create_thing(thingTypeName="x")


def test_endpoints_may_still_be_looked_for(folder: Path) -> None:
    assert client("dynamodb", "eu-central-1", folder).meta.service_model.endpoint_discovery_operation


def test_it_says_that_it_was_changed_and_is_much_smaller(smaller: dict[str, bytes]) -> None:
    assert all(model(smaller, one)["documentation"] == NOTICE for one in SERVICES)
    sizes = {one: len(json.dumps(model(smaller, one))) for one in SERVICES}
    assert max(sizes.values()) < 120_000, sizes
    assert len(smaller["botocore/data/endpoints.json"]) < 60_000
    assert not [name for name in smaller if "examples" in name]


def test_it_does_not_matter_how_the_original_was_compressed() -> None:
    plain = json.dumps({"metadata": {}, "operations": {"A": {"output": {"shape": "S"}}}, "shapes": {"S": {}}})
    source = {"keyborn/a.py": b'call("A")'}
    path = "botocore/data/x/1/service-2.json"
    one = cut({path: plain.encode(), **source})
    other = cut({f"{path}.gz": gzip.compress(plain.encode()), **source})
    assert one == other
    assert json.loads(one[path])["shapes"] == {"S": {}}


def test_shapes_that_hold_themselves_are_followed_to_their_end() -> None:
    shapes = {
        "Tree": {"type": "list", "member": {"shape": "Leaf"}},
        "Leaf": {"type": "structure", "members": {"documentation": {"shape": "Tree"}}},
        "Other": {"type": "string"},
    }
    found = cut_model(
        {"operations": {"Grow": {"input": {"shape": "Tree"}}, "Fell": {}}, "shapes": shapes}, {"Grow"}
    )
    assert set(found["operations"]) == {"Grow"}
    assert found["shapes"] == {name: shapes[name] for name in ("Tree", "Leaf")}


def test_what_is_no_description_is_left_alone() -> None:
    contents = {"botocore/data/_retry.json": b"{ }", "botocore/session.py": b'"A"', "keyborn/a.py": b""}
    assert cut(contents) == contents


def without_texts(part: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(part, dict):
        return {
            name: without_texts(one)
            for name, one in part.items()
            if not (name == "documentation" and isinstance(one, str))
        }
    return [without_texts(one) for one in part] if isinstance(part, list) else part


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("shape"), str):
            yield part["shape"]
        for one in part.values():
            yield from references(one)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)
