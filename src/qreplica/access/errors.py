"""Errors of setting up, logging in and being let in."""

from qreplica.errors import Conflict, Invalid, Unauthorized, Unavailable


class AlreadySetUp(Conflict):
    """The first administrator exists."""

    kind = "already-set-up"
    template = "This subsystem was already set up: log in with “qreplica login”."


class WrongSetupSecret(Unauthorized):
    """The one-time secret is not the one in the state directory."""

    kind = "wrong-setup-secret"
    template = "The setup secret is not the one in {file} on the subsystem: read it there and try again."


class PasswordTooShort(Invalid):
    """A password that is too easy to guess."""

    kind = "password-too-short"
    template = "The password has {length} characters and needs at least {minimum}: choose a longer one."


class PasswordTooLong(Invalid):
    """A password that nobody types."""

    kind = "password-too-long"
    template = "The password has {length} characters and may have at most {maximum}: choose a shorter one."


class AdministratorNameInvalid(Invalid):
    """Not a name for an administrator."""

    kind = "administrator-name-invalid"
    template = (
        "“{name}” cannot name an administrator: use 1 to 32 lower-case letters, digits, “.”, “_” or “-”, beginning "
        "with a letter."
    )


class WrongLogin(Unauthorized):
    """Name or password is wrong; which of them is not told."""

    kind = "wrong-login"
    template = "The name “{name}” and its password do not match an administrator: check both and try again."


class TooManyFailures(Unavailable):
    """The name has to wait after failed logins."""

    kind = "too-many-failures"
    title = "Too many failed logins"
    status = 429
    template = "“{name}” failed to log in {failures} times: wait {retry_after} s and try again."


class TokenMissing(Unauthorized):
    """A request without a login."""

    kind = "token-missing"
    template = "The request carries no token: log in with “qreplica login” and send “Authorization: Bearer TOKEN”."


class TokenInvalid(Unauthorized):
    """A token that was never given, has ended, or was logged out."""

    kind = "token-invalid"
    template = "The login has ended or was never valid: log in again with “qreplica login”."
