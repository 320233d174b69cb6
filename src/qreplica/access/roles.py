"""What a user may do: each role may also do everything that the roles before it may."""

from enum import StrEnum


class Role(StrEnum):
    """VIEWER reads. OPERATOR also runs jobs and takes snapshots. ADMIN does everything."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def may(self, least: "Role") -> bool:
        """Tell whether this role may do what needs ``least``."""
        return _ORDER.index(self) >= _ORDER.index(least)


_ORDER = tuple(Role)


def lower(one: Role, other: Role) -> Role:
    """Return the role that may do less."""
    return one if other.may(one) else other
