"""Setting the subsystem up, once."""

from typing import Annotated

from pydantic import Field

from qreplica.api.access import TheSettingUp, opened
from qreplica.api.fields import Answer, SecretIn, Strict, example
from qreplica.api.problems import problems

router = opened("access")


class SetupRequest(Strict):
    """The one-time secret, and the first user, an admin."""

    model_config = example(
        {
            "setup_secret": "dZ0mN0Jq2u8mIYV0cHh6fKx5n3cU4b7zQk1w9sXyE2A",
            "name": "admin",
            "password": "correct horse battery",
        }
    )
    setup_secret: SecretIn
    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[SecretIn, Field(description="At least 12 characters; write-only")]


class SetupAnswer(Answer):
    """Whether the first user is still to be made, and where the secret for it is."""

    model_config = example({"needed": True, "file": "/var/lib/qreplica/setup-secret"})
    needed: bool
    file: Annotated[str, Field(description="The file on the subsystem, readable by root, with the one-time secret")]


@router.get("/setup", summary="Ask whether the first user is to be made", responses=problems())
def show_setup(setting_up: TheSettingUp) -> SetupAnswer:
    """Tell whether nobody can log in yet."""
    return SetupAnswer(needed=setting_up.is_needed(), file=str(setting_up.secret_file))


@router.post("/setup", summary="Make the first user", status_code=204, responses=problems(401, 409))
def set_up(request: SetupRequest, setting_up: TheSettingUp) -> None:
    """Make the first user, an admin. Possible once, with the secret that the daemon wrote to `STATE_DIR/setup-secret`.

    There is no default password. The file is deleted when the user exists.
    """
    setting_up.set_up(request.setup_secret.get_secret_value(), request.name, request.password.get_secret_value())
