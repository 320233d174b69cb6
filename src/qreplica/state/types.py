"""Column types: UTC times and secrets encrypted at rest."""

from datetime import UTC, datetime
from enum import StrEnum

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import DateTime, Enum, LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from qreplica.state.errors import SecretUnreadable


def enum_of(kind: type[StrEnum]) -> Enum:
    """Return the column type of an enumeration: its values as text, so that a new one needs no change of the table."""
    return Enum(
        kind, native_enum=False, length=32, values_callable=lambda members: [member.value for member in members]
    )


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC ``datetime``; naive ones are refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = "a time without a zone cannot be stored"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return aware UTC, also from SQLite, which keeps no zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Secret(TypeDecorator[str]):
    """A text kept encrypted (Fernet: AES-128-CBC, HMAC-SHA-256) under the subsystem's key, which ``unlock`` sets."""

    impl = LargeBinary
    cache_ok = True
    _cipher: Fernet | None = None

    @classmethod
    def unlock(cls, key: bytes) -> None:
        """Set the key (URL-safe base64, 32 bytes) for this process."""
        cls._cipher = Fernet(key)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Encrypt."""
        return None if value is None else self._unlocked().encrypt(value.encode())

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Decrypt. Raises SecretUnreadable."""
        if value is None:
            return None
        try:
            return self._unlocked().decrypt(value).decode()
        except InvalidToken as error:
            raise SecretUnreadable from error

    def _unlocked(self) -> Fernet:
        if self._cipher is None:
            message = "the secrets key was not loaded before the database was used"
            raise RuntimeError(message)
        return self._cipher
