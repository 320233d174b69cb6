"""The description is complete: whoever reads it alone can use the API."""

from typing import Any

import pytest

from qreplica.api import fields

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def description(world: Any) -> dict[str, Any]:
    return world.app.openapi()


def operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def has_example(description: dict[str, Any], content: dict[str, Any]) -> bool:
    if "example" in content or "examples" in content:
        return True
    schema = resolved(description, content["schema"])
    if schema.get("type") == "array":
        schema = resolved(description, schema["items"])
    return bool(schema.get("examples"))


def test_all_resources_are_there(description: dict[str, Any]) -> None:
    assert len(operations(description)) >= 40
    for path in ("/api/v1/jobs/{name}/cycles", "/api/v1/luns/{node}/{number}", "/api/v1/setup", "/metrics"):
        assert path in description["paths"]


def test_each_operation_has_summary_description_and_example(description: dict[str, Any]) -> None:
    lacking = []
    for method, path, operation in operations(description):
        if not operation.get("summary") or len(operation.get("description", "")) < 15:
            lacking.append(f"{method} {path}: no summary or description")
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]
            if not has_example(description, body):
                lacking.append(f"{method} {path}: no example of the request")
        (good,) = [status for status in operation["responses"] if status.startswith("2")]
        if good == "204":
            assert "content" not in operation["responses"][good]
            continue
        if not all(has_example(description, one) for one in operation["responses"][good]["content"].values()):
            lacking.append(f"{method} {path}: no example of the answer")
    assert lacking == []


def test_each_operation_tells_of_its_problems(description: dict[str, Any]) -> None:
    lacking = []
    for method, path, operation in operations(description):
        failures = {status: one for status, one in operation["responses"].items() if not status.startswith("2")}
        if not {"422", "500", "503"} <= failures.keys():
            lacking.append(f"{method} {path}: {sorted(failures)}")
        if "{" in path and not path.endswith("}/stop") and "404" not in failures:
            lacking.append(f"{method} {path}: no 404")
        for status, one in failures.items():
            assert set(one["content"]) == {"application/problem+json"}, (method, path, status)
            content = one["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert content["example"]["status"] == int(status)
    assert lacking == []


@pytest.mark.usefixtures("world")
def test_examples_fit_their_schemas() -> None:
    models = [*all_subclasses(fields.Strict), *all_subclasses(fields.Answer)]
    checked = 0
    for model in models:
        for example in model.model_config.get("json_schema_extra", {}).get("examples", []):
            model.model_validate(example)
            checked += 1
    assert checked >= 20


def all_subclasses(base: type) -> set[type]:
    return {one for direct in base.__subclasses__() for one in {direct, *all_subclasses(direct)}}


def test_the_problem_s_schema_is_described(description: dict[str, Any]) -> None:
    problem = description["components"]["schemas"]["Problem"]
    assert {"type", "title", "status", "detail", "fields", "exit_code", "places"} <= problem["properties"].keys()
    assert "HTTPValidationError" not in description["components"]["schemas"]


def test_secrets_are_only_ever_asked_for(description: dict[str, Any]) -> None:
    for name, schema in description["components"]["schemas"].items():
        for field, facts in schema.get("properties", {}).items():
            if "secret" in field or "password" in field:
                assert name.endswith("Request"), (name, field)
                assert "writeOnly" in str(facts), (name, field)
