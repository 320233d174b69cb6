"""Errors of license files, of the keys that sign them, and of calls that need a license."""

from qreplica.errors import Conflict, Invalid, QReplicaError


class NotALicense(Invalid):
    """A file that is something else."""

    kind = "not-a-license"
    template = "This is not a license file ({reason}): upload the file as the vendor sent it; nothing was changed."


class LicenseTooLarge(Invalid):
    """A file larger than any license."""

    kind = "license-too-large"
    status = 413
    template = (
        "The file is larger than {limit:size}, which no license is: upload the file as the vendor sent it; nothing was "
        "changed."
    )


class LicenseTruncated(Invalid):
    """The end of the file is missing."""

    kind = "license-truncated"
    template = "The license file ends too early, so its end was lost: get it from the vendor again."


class LicenseRepeats(Invalid):
    """A field stands in the file twice, so that readers could differ about its value."""

    kind = "license-repeats"
    template = (
        "The license file has “{field}” more than once, so it was altered: upload the file as the vendor sent it."
    )


class LicenseAltered(Invalid):
    """The file is not, byte for byte, what was signed."""

    kind = "license-altered"
    template = (
        "The license was altered after it was signed ({reason}): upload the file as the vendor sent it, byte for byte."
    )


class LicenseTooNew(Invalid):
    """The file has a format of a later version."""

    kind = "license-too-new"
    template = (
        "The license has format version {version} and this version of QReplica reads {known}: update QReplica, or ask "
        "the vendor for a license of that format."
    )


class LicenseOfAnotherVendor(Invalid):
    """The file was signed with a key that this subsystem does not trust."""

    kind = "license-of-another-vendor"
    template = (
        "The license was signed with the key {key}, and this subsystem trusts {trusted}: get a license from a vendor "
        "that it trusts, or add that vendor's public key to license_keys in the configuration."
    )


class LicenseOfAnotherFeature(Invalid):
    """The file licenses something else."""

    kind = "license-of-another-feature"
    template = "The license is for the feature “{feature}” and not for “{wanted}”: ask the vendor for one for that."


class LicenseOfAnotherSubsystem(Invalid):
    """The file is bound to another serial number."""

    kind = "license-of-another-subsystem"
    template = (
        "The license is for the subsystem with serial number {found} and this one has {serial}: ask the vendor for a "
        "license for {serial}."
    )


class LicenseNotYetValid(Invalid):
    """The file's time has not come."""

    kind = "license-not-yet-valid"
    template = "The license is valid from {not_before}, and it is {now}: upload it then, or set the subsystem's clock."


class LicenseExpired(Invalid):
    """The file's time is over."""

    kind = "license-expired"
    template = "The license expired at {expires_at}, and it is {now}: ask the vendor for a new one."


class NoVendorTrusted(Conflict):
    """The configuration names no key."""

    kind = "no-vendor-trusted"
    template = (
        "No license can be checked because the configuration names no vendor's public key: add its file to "
        "license_keys in the configuration of both controllers, and restart them."
    )


class LicenseKeyUnusable(Conflict):
    """The file of a trusted key cannot be used."""

    kind = "license-key-unusable"
    template = (
        "The vendor's public key {file} cannot be used because {reason}: put an Ed25519 public key (PEM) there, or "
        "correct license_keys in the configuration and restart the controller."
    )


class NotLicensed(QReplicaError):
    """A call needs a license, and none is in force."""

    kind = "not-licensed"
    title = "No license is in force"
    status = 403
    exit_code = 11
    template = (
        "QReplica is not licensed on this subsystem, serial number {serial}: obtain a license key for that number and "
        "upload it with “qreplica license upload FILE”."
    )


class RestartNeeded(NotLicensed):
    """A license was uploaded, and this controller began without it."""

    kind = "license-needs-restart"
    template = (
        "The license key is activated, but controller {controller} has not been restarted since: restart the subsystem "
        "to make the license take effect (“qreplica subsystem restart”)."
    )


class LicenseRanOut(NotLicensed):
    """The license that was in force has expired."""

    kind = "license-ran-out"
    template = (
        "The license of this subsystem, serial number {serial}, expired at {expires_at}, so cycles that run are "
        "finished and no other begins: obtain a new license key and upload it with “qreplica license upload FILE”."
    )


class LicenseNotBegun(NotLicensed):
    """The clock is before the license's time; it was set back since the upload."""

    kind = "license-not-begun"
    template = (
        "The license of this subsystem is valid from {not_before}, and its clock says {now}: set the clock, or wait "
        "until then."
    )


class SerialInvalid(Invalid):
    """A text that is no serial number."""

    kind = "serial-invalid"
    template = (
        "“{serial}” is not a subsystem's serial number: copy it as “qreplica status” shows it, such as {example}."
    )


class SigningKeyUnusable(Invalid):
    """The vendor's private key cannot be used."""

    kind = "signing-key-unusable"
    template = "The private key {file} cannot be used because {reason}: give the file that “key-pair” wrote."


class FileNotWritten(Conflict):
    """A file of the vendor's was not written."""

    kind = "license-file-not-written"
    template = "{file} was not written because {reason}: give another name, or remove what is there yourself."


class LicenseUnreadable(Invalid):
    """The license file cannot be read here."""

    kind = "license-unreadable"
    template = "The license file {file} cannot be read because {reason}: give the file as the vendor sent it."


class TermInvalid(Invalid):
    """The dates of a license to be issued make no sense."""

    kind = "license-term-invalid"
    template = "The license cannot be issued because {reason}: give other dates, or none for a perpetual license."
