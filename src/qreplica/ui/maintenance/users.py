"""The users and their roles, and who of them is logged in."""

import asyncio
from functools import partial
from typing import Any, Final

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui import wording
from qreplica.ui.dialogs import buttons, confirm, confirm_loss, dialog
from qreplica.ui.entries import Operation, entries, entry, operations
from qreplica.ui.following import follow
from qreplica.ui.looking import Looking
from qreplica.ui.maintenance import logins

User = dict[str, Any]
_ROLES: Final = {
    Role.VIEWER.value: "viewer: looks",
    Role.OPERATOR.value: "operator: also runs jobs and takes snapshots",
    Role.ADMIN.value: "admin: does everything",
}


async def show(here: Looking) -> None:
    """Show the users, and all logins and tokens."""

    async def ask() -> tuple[list[User], list[dict[str, Any]], str]:
        users, sessions, account = await asyncio.gather(*map(here.rest.get, ("users", "sessions", "account")))
        return users, sessions, account["session"]

    await follow(here, ask, partial(_show, here))


def _show(here: Looking, found: tuple[list[User], list[dict[str, Any]], str]) -> None:
    users, sessions, own = found

    async def end(number: str) -> None:
        await here.rest.delete("sessions", number)

    with ui.card().classes("panel"):
        with entries("Users"):
            for user in users:
                made = f"Made {wording.time(user['created_at'], here.zone)}"
                states = (user["role"],) if user["enabled"] else (user["role"], "disabled")
                with entry(user["name"], made, chips=states):
                    operations(user["name"], _offered(here, user))
        ui.button("Make a user", icon="add", on_click=partial(_make, here))
    with ui.card().classes("panel"):
        logins.show(here, "Logins and API tokens", sessions, end, own=own, whose=True)


def _offered(here: Looking, user: User) -> list[Operation]:
    enabling = Operation("Disable", partial(_disable, here, user))
    if not user["enabled"]:
        enabling = Operation("Enable", partial(_enable, here, user))
    return [
        Operation("Change the role", partial(_change_role, here, user)),
        Operation("Set the password", partial(_set_password, here, user)),
        enabling,
        Operation("End all logins and tokens", partial(_end_all, here, user)),
        Operation("Delete", partial(_delete, here, user)),
    ]


def _make(here: Looking) -> None:
    with dialog("Make a user") as made:
        name = ui.input("Name").props("autofocus autocomplete=off").classes("full-width")
        role = ui.select(_ROLES, label="Role", value=Role.VIEWER.value).classes("full-width")
        password = _password_field()
        buttons(
            here,
            made,
            "Make the user",
            lambda: here.rest.post("users", body={"name": name.value, "role": role.value, "password": password.value}),
            "The user was made.",
        )


def _change_role(here: Looking, user: User) -> None:
    with dialog(f"Role of {user['name']}") as made:
        ui.label("It counts from the user's next click on.")
        role = ui.select(_ROLES, label="Role", value=user["role"]).classes("full-width")
        buttons(
            here,
            made,
            "Save",
            lambda: here.rest.patch("users", user["name"], body={"role": role.value}),
            f"The role of “{user['name']}” was changed.",
        )


def _set_password(here: Looking, user: User) -> None:
    with dialog(f"Password of {user['name']}") as made:
        ui.label("All logins of the user end; API tokens stay, and can be revoked.")
        password = _password_field()
        buttons(
            here,
            made,
            "Set the password",
            lambda: here.rest.put("users", user["name"], "password", body={"password": password.value}),
            f"The password of “{user['name']}” was set.",
        )


def _password_field() -> ui.input:
    field = ui.input("Password", password=True).props('autocomplete=new-password hint="At least 12 characters"')
    return field.classes("full-width")


def _disable(here: Looking, user: User) -> None:
    confirm(
        here,
        f"Disable {user['name']}",
        "All logins of the user end, and API tokens are refused, until the user is enabled again.",
        "Disable",
        lambda: here.rest.patch("users", user["name"], body={"enabled": False}),
        done=f"“{user['name']}” is disabled.",
    )


async def _enable(here: Looking, user: User) -> None:
    enabled = here.rest.patch("users", user["name"], body={"enabled": True})
    await here.attempt(enabled, f"“{user['name']}” may log in again.")


def _end_all(here: Looking, user: User) -> None:
    confirm(
        here,
        f"End all logins and tokens of {user['name']}",
        "The user must log in again, and programs that use one of the API tokens are refused: they need new ones.",
        "End them",
        lambda: here.rest.delete("users", user["name"], "sessions"),
        done=f"All logins and tokens of “{user['name']}” ended.",
    )


def _delete(here: Looking, user: User) -> None:
    confirm_loss(
        here,
        f"Delete {user['name']}",
        "The user is gone with all logins and API tokens: programs that use one are refused. The audit log stays.",
        user["name"],
        lambda: here.rest.delete("users", user["name"]),
        done=f"“{user['name']}” was deleted.",
    )
