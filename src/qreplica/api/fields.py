"""The types that requests and answers are made of."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from qreplica.units import NotASize, parse_size


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except NotASize as error:
        raise PydanticCustomError("not_a_size", "{sentence}", {"sentence": error.sentence}) from error


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: A size in a request: a number of bytes, or a text such as ``10GiB``.
SizeIn = Annotated[
    int,
    BeforeValidator(_bytes, json_schema_input_type=int | str),
    Field(ge=0, lt=2**63, strict=True, description="Bytes, or a text with a binary unit such as `10GiB`"),
]
#: A size in an answer, in bytes.
Size = Annotated[int, Field(description="Bytes")]
#: A time in an answer: RFC 3339, UTC.
Time = Annotated[datetime, PlainSerializer(_rfc3339, when_used="json"), Field(description="RFC 3339, UTC")]
Name = Annotated[str, Field(min_length=1, max_length=64, description="Unique among its kind")]
#: A secret in a request; no answer ever holds one.
SecretIn = Annotated[SecretStr, Field(min_length=1, max_length=1024, description="Write-only")]


def _has_half_a_pair(value: object) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(map(_has_half_a_pair, value.keys())) or any(map(_has_half_a_pair, value.values()))
    return isinstance(value, list) and any(map(_has_half_a_pair, value))


class Strict(BaseModel):
    """A request: what is not known is refused, so that a misspelt option cannot be lost in silence."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_text_throughout(cls, value: Any) -> Any:  # noqa: ANN401 - whatever JSON came
        """Refuse halves of surrogate pairs, which JSON can escape and no answer could repeat (RFC 8259, 8.2)."""
        if _has_half_a_pair(value):
            raise PydanticCustomError("not_unicode", "It holds half of a surrogate pair, which is no character")
        return value


class Answer(BaseModel):
    """An answer, made from the service's object of the same attributes."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


def revealed(secret: SecretStr | None) -> str | None:
    """Return the text of a secret for the service that needs it."""
    return None if secret is None else secret.get_secret_value()


def example(values: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model whose OpenAPI schema shows ``values`` as its example."""
    return ConfigDict(json_schema_extra={"examples": [values]})
