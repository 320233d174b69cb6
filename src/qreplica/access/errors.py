"""Errors of setting up, logging in and being let in."""

from qreplica.errors import Conflict, Invalid, Unauthorized, Unavailable


class Forbidden(Unauthorized):
    """The caller proved who it is, and may not do this."""

    kind = "forbidden"
    title = "Not allowed"
    status = 403


class AlreadySetUp(Conflict):
    """The first user exists."""

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


class UserNameInvalid(Invalid):
    """Not a name for a user."""

    kind = "user-name-invalid"
    template = (
        "“{name}” cannot name a user: use 1 to 32 lower-case letters, digits, “.”, “_” or “-”, beginning with a letter."
    )


class WrongLogin(Unauthorized):
    """Name or password is wrong; which of them is not told."""

    kind = "wrong-login"
    template = "The name “{name}” and its password do not match a user: check both and try again."


class TooManyFailures(Unavailable):
    """The name has to wait after failed logins."""

    kind = "too-many-failures"
    title = "Too many failed logins"
    status = 429
    template = "“{name}” gave a wrong password {failures} times: wait {retry_after} s and try again."


class TokenMissing(Unauthorized):
    """A request without a login."""

    kind = "token-missing"
    template = "The request carries no token: log in with “qreplica login” and send “Authorization: Bearer TOKEN”."


class TokenInvalid(Unauthorized):
    """A token that was never given, has ended, or was logged out."""

    kind = "token-invalid"
    template = "The login has ended or was never valid: log in again with “qreplica login”."


class LoginUnused(TokenInvalid):
    """A login that ended because nobody used it."""

    kind = "login-unused"
    template = "The login has ended because it was not used for {minutes} minutes: log in again with “qreplica login”."


class RoleTooLow(Forbidden):
    """The operation needs a role that the caller does not have."""

    kind = "role-too-low"
    template = (
        "{operation} needs the role {needed}, and “{user}” acts as {role}: ask an admin to do it or to change the role."
    )


class LoginNeeded(Forbidden):
    """An API token cannot do this: it would outlive itself."""

    kind = "login-needed"
    template = (
        "The token “{token}” can neither make tokens nor change passwords, so that it ends when it should: log in with "
        "“qreplica login” and try again."
    )


class UserDisabled(Forbidden):
    """The password is right, and the user may not log in."""

    kind = "user-disabled"
    template = "User “{name}” is disabled: ask an admin to enable it with “qreplica user enable {name}”."


class WrongPassword(Forbidden):
    """The present password is needed to set a new one."""

    kind = "wrong-password"
    template = "The password was not changed because the present one is not right: check it and try again."


class TokenRoleTooHigh(Forbidden):
    """A token may not do more than who makes it."""

    kind = "token-role-too-high"
    template = "The token cannot have the role {role} because yours is {own}: choose {own} or a lower one."


class UserExists(Conflict):
    """The name is taken."""

    kind = "user-exists"
    template = "There is already a user “{name}”: choose another name, or change that one."


class TokenExists(Conflict):
    """The caller has a token of that name."""

    kind = "token-exists"
    template = "You already have a token “{name}”: choose another name, or revoke that one first."


class LastAdmin(Conflict):
    """Nobody could manage users any more."""

    kind = "last-admin"
    template = (
        "User “{name}” is the only enabled admin, and without one nobody could manage users: make another admin first."
    )


class CertificateNotFit(Invalid):
    """A TLS certificate that the controllers cannot show."""

    kind = "certificate-not-fit"
    template = (
        "The certificate cannot be used because {reason}: give a valid one with its issuers after it and its key, both "
        "in PEM form."
    )


class CertificateConfigured(Conflict):
    """A controller's configuration file says which certificate it shows."""

    kind = "certificate-configured"
    template = (
        "No certificate can be uploaded because the configuration file of controller {controller} names one: take "
        "tls_certificate and tls_key out there, restart it, and upload again."
    )


class TlsOff(Conflict):
    """Nobody would see a certificate."""

    kind = "tls-off"
    template = (
        "No certificate can be uploaded because controller {controller} speaks no TLS: take “tls = false” out of its "
        "configuration, start it again, and upload."
    )
