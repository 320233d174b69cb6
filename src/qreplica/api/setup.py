"""Setting the subsystem up, once."""

from typing import Annotated

from pydantic import Field

from qreplica.api.access import TheSettingUp, opened
from qreplica.api.fields import SecretIn, Strict, example
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


@router.post("/setup", summary="Make the first user", status_code=204, responses=problems(401, 409))
def set_up(request: SetupRequest, setting_up: TheSettingUp) -> None:
    """Make the first user, an admin. Possible once, with the secret that the daemon wrote to `STATE_DIR/setup-secret`.

    There is no default password. The file is deleted when the user exists.
    """
    setting_up.set_up(request.setup_secret.get_secret_value(), request.name, request.password.get_secret_value())
