"""Errors that the command line itself raises; all others come from the subsystem as problem bodies."""

from qreplica.errors import Conflict, Invalid, NotFound, QReplicaError, RemoteFailed, Unauthorized, Unavailable


class NoSubsystem(Invalid):
    """Nothing says which subsystem is meant."""

    kind = "no-subsystem"
    template = (
        "It is not clear which subsystem is meant: log in first (“qreplica --url URL login”), or name one with --on or "
        "--url."
    )


class NotAUrl(Invalid):
    """Not an address of a subsystem's management port."""

    kind = "not-a-url"
    template = "“{url}” is not a subsystem's address: write it as https://HOST:PORT."


class NameImpossible(Invalid):
    """Nothing can have that name."""

    kind = "name-impossible"
    template = "Nothing can be named “{name}”: give the name as “list” shows it."


class NoSuchLogin(NotFound):
    """No login was saved under that name."""

    kind = "no-such-login"
    template = "No login is saved as “{name}” (saved: {known}): log in with “qreplica --url URL login --as {name}”."


class WhichSessions(Invalid):
    """It is not said, or said more than once, what is to end."""

    kind = "which-sessions"
    template = "It is not clear what is to end: give one of an id, --user NAME and --others."


class NoSuchToken(NotFound):
    """The user has no such token."""

    kind = "no-such-token"
    template = "You have no token “{name}”: list yours with “qreplica token list”."


class FileNotWritten(Invalid):
    """What was asked for could not be kept."""

    kind = "file-not-written"
    template = "{file} cannot be written because {reason}: name a file that is not there yet, in a directory that is."


class NotLoggedIn(Unauthorized):
    """There is no token for the subsystem."""

    kind = "not-logged-in"
    template = "You are not logged in to {url}: run “qreplica --url {url} login”."


class SubsystemUnreachable(Unavailable):
    """No answer came."""

    kind = "subsystem-unreachable"
    template = "The subsystem at {url} cannot be reached ({reason}): check the address and that qreplicad runs there."


class CertificateUnknown(RemoteFailed):
    """Nothing tells whether the certificate is the subsystem's."""

    kind = "certificate-unknown"
    template = (
        "{url} shows a certificate that nobody known has signed (SHA-256 {found}): if the log of qreplicad shows the "
        "same, log in with --fingerprint {found}; or name who signed it with --ca-file."
    )


class CertificateChanged(RemoteFailed):
    """What answers is not what answered before."""

    kind = "certificate-changed"
    template = (
        "{url} shows the certificate {found} instead of {expected}, {whose}, so that somebody else may answer there: "
        "if it got a new one, which the event “certificate-uploaded” and the log of qreplicad tell with its "
        "fingerprint, log in again with --fingerprint {found}, or with --ca-file and a file of who signed it."
    )


class CertificateRefused(RemoteFailed):
    """No known authority vouches for the certificate."""

    kind = "certificate-refused"
    template = (
        "The certificate that {url} shows is not to be trusted ({reason}): log in again with the --ca-file or "
        "--fingerprint that is right, if the subsystem got another certificate."
    )


class CaFileUnusable(Invalid):
    """A file of certificate authorities that is none."""

    kind = "ca-file-unusable"
    template = "The authorities in {file} cannot be used because {reason}: give a file of certificates in PEM form."


class AnswerNotUnderstood(RemoteFailed):
    """Something answered, but not as a subsystem does."""

    kind = "answer-not-understood"
    template = (
        "What answers at {url} does not answer as a subsystem (HTTP status {status}): check the address, and that both "
        "sides run the same version."
    )


class PemUnreadable(Invalid):
    """A file of a certificate or key that is none."""

    kind = "pem-unreadable"
    template = "{file} cannot be read because {reason}: name a file in PEM form."


class CredentialsDamaged(Invalid):
    """The file with the logins cannot be used."""

    kind = "credentials-damaged"
    template = "The saved logins in {file} cannot be used because {reason}: mend or remove the file and log in again."


class SecretMissing(Invalid):
    """A secret is needed and cannot be asked for."""

    kind = "secret-missing"
    template = (
        "The {what} is needed and nobody can be asked: give it with {option} FILE (“-” for standard input) or in the "
        "environment variable {variable}."
    )


class SecretUnreadable(Invalid):
    """A file that should hold a secret does not."""

    kind = "secret-unreadable"
    template = "The {what} cannot be read from {file} because {reason}: give a file that holds it on its first line."


class ValueMissing(Invalid):
    """A value is needed and cannot be asked for."""

    kind = "value-missing"
    template = "{option} is needed when standard input is not a terminal: give it and try again."


class NotConfirmed(Conflict):
    """A destructive command was not confirmed."""

    kind = "not-confirmed"
    template = "Nothing was done, because it was not confirmed: type the name when asked, or give --yes."


class ChoiceAmbiguous(Invalid):
    """There is nothing, or more than one thing, to choose from, and nobody can be asked."""

    kind = "choice-ambiguous"
    template = "Nobody can be asked to choose, and what is offered is {offered}: give {option}."


class WindowUnclear(Invalid):
    """Days or a window of the week that cannot be read."""

    kind = "window-unclear"
    template = "“{text}” cannot be read: {reason}."


class PrefixUnclear(Invalid):
    """An address whose prefix cannot be read."""

    kind = "prefix-unclear"
    template = "“{text}” cannot be read as an address and its prefix: write it as 192.168.1.21/24."


class FollowedJobFailed(QReplicaError):
    """The job that was followed did not commit."""

    kind = "followed-job-failed"
    title = "The job did not finish"
    exit_code = 10
    template = "Job “{name}” is {state}: {reason}"


class FollowedGroupFailed(QReplicaError):
    """The rebuild or scrub that was followed did not end well."""

    kind = "followed-group-failed"
    title = "The RAID group is not well"
    exit_code = 10
    template = "RG “{name}” is not well, because {reason}"


class CopyNotVerified(QReplicaError):
    """A verification that was followed did not find the copy to be right."""

    kind = "copy-not-verified"
    title = "The copy is not known to be right"
    exit_code = 10
    template = "The copy of job “{name}” is not known to be right: {reason}"


class FollowedFailoverEnded(QReplicaError):
    """The failover that was followed did not come to its end."""

    kind = "followed-failover-ended"
    title = "The failover did not finish"
    exit_code = 10
    template = (
        "The failover of “{name}” is under way no more, and the virtual disk “{vd}” is still what hosts use: it was "
        "called off, as “qreplica event list” tells."
    )


class FollowedRestartUnfinished(QReplicaError):
    """The restart that was followed did not come to its end."""

    kind = "followed-restart-unfinished"
    title = "The restart did not finish"
    exit_code = 10
    template = "Controller {controllers} has not restarted within 10 minutes: look at the log of its qreplicad."


class Refused(Exception):
    """The subsystem answered with a problem; ``body`` is it."""

    def __init__(self, body: dict[str, object]) -> None:
        super().__init__(str(body["detail"]))
        self.body = body

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        code = self.body.get("exit_code", 1)
        return code if isinstance(code, int) else 1
