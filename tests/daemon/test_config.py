"""The configuration file: every mistake is told in one sentence that names the place."""

from pathlib import Path

import pytest

from qreplica.daemon.config import ConfigurationInvalid, load

GOOD = """
subsystem = "source"
controller = 2
state_dir = "/var/lib/qreplica"
runtime_dir = "/run/qreplica"
tgt_control_port = 7
[[ports]]
number = 1
interface = "eth0"
address = "192.168.1.5"
prefix_length = 25
[[ports]]
number = 4
interface = "eth3"
address = "192.168.1.8"
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "qreplicad.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_a_good_file_is_read(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD))
    assert config.database_url == "sqlite:////var/lib/qreplica/qreplica.db"
    assert config.management_address == ("127.0.0.1", 8080)
    assert config.raid_group_mounts == Path("/var/lib/qreplica/rg")
    assert config.tgtd_pid_file == config.tgtd_pid_files[1] == Path("/var/lib/qreplica/tgtd/2.pid")
    assert [(port.number, port.prefix_length) for port in config.ports] == [(1, 25), (4, 24)]


def test_both_controllers_name_the_same_target_daemons(tmp_path: Path) -> None:
    one = load(write(tmp_path, GOOD.replace("controller = 2", "controller = 1")))
    other = load(write(tmp_path, GOOD))
    assert one.tgtd_pid_files == other.tgtd_pid_files
    assert one.tgtd_pid_file != other.tgtd_pid_file


def test_another_database_is_used_when_given(tmp_path: Path) -> None:
    given = "database = 'postgresql://db/qreplica'\n"
    assert load(write(tmp_path, given + GOOD)).database_url == "postgresql://db/qreplica"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            ('"/run/qreplica"', '"/run/qreplica"\ncluster = {takeover_seconds = 2}'),
            "cluster: takeover_seconds must be at least three times heartbeat_seconds",
        ),
        (("controller = 2", "controller = 3"), "controller: Input should be less than or equal to 2"),
        (("controller = 2", "controller = 'two'"), "controller: Input should be a valid integer"),
        (("controller = 2", ""), "controller: Field required"),
        (('"source"', '"Source Box"'), "subsystem: String should match pattern"),
        (('"/var/lib/qreplica"', '"state"'), "state_dir: it must be an absolute path"),
        (('"/run/qreplica"', '"./run"'), "runtime_dir: it must be an absolute path"),
        (("= 7", "= 0"), "tgt_control_port: Input should be greater than or equal to 1"),
        (("= 7", "= 7\nmanagement = 'localhost'"), "management: "),
        (("= 7", "= 7\nmanagement = '127.0.0.1:http'"), "management: it must be an IPv4 address and a TCP port"),
        (("= 7", "= 7\nmanagement = '127.0.0.1:65536'"), "management: it must be an IPv4 address and a TCP port"),
        (("= 7", "= 7\niscsi_port = 65536"), "iscsi_port: Input should be less than or equal to 65535"),
        (("= 7", "= 7\niscsi_port = 3261"), "iscsi_port and peer_port must differ"),
        (("= 7", "= 7\niqn_prefix = 'org.example'"), "iqn_prefix: it must be the beginning of an IQN"),
        (("= 7", "= 7\niqn_prefix = 'iqn.2026-13.org.example'"), "iqn_prefix: it must be the beginning of an IQN"),
        (("/var/lib/qreplica", "/var/lib/a,b"), "state_dir: it must be an absolute path without commas"),
        (("= 7", "= 7\ntls_key = '/a'"), "tls_certificate and tls_key go together"),
        (("= 7", "= 7\ntls_key = 'a'"), "tls_key: it must be an absolute path"),
        (
            ("= 7", "= 7\ntls = false\ntls_key = '/a'\ntls_certificate = '/b'"),
            "tls_certificate is of no use with tls = false",
        ),
        (("= 7", "= 7\nlog_format = 'xml'"), "log_format: String should match pattern"),
        (("= 7", "= 7\nlicense_keys = ['key.pub']"), "license_keys: each must be an absolute path"),
        (("= 7", "= 7\ncluster = {restart_pause_seconds = -1}"), "cluster.restart_pause_seconds: "),
        (("= 7", "= 7\nspeed = 'fast'"), "speed: Extra inputs are not permitted"),
        (("number = 1", "number = 5"), "ports.0.number: Input should be less than or equal to 4"),
        (("number = 1", "number = 4"), "two ports have the same number 4"),
        (("192.168.1.5", "192.168.1.8"), "two ports have the same address 192.168.1.8"),
        (("192.168.1.5", "192.168.1.256"), "ports.0.address: Octet 256"),
        (("192.168.1.5", "fe80::1"), "ports.0.address: "),
        (("= 25", "= 33"), "ports.0.prefix_length: "),
        (('"eth0"', '"eth0; reboot"'), "ports.0.interface: String should match pattern"),
        (("[[ports]]", "[[port]]"), "ports: Field required"),
        (("subsystem", "subsystem = \n x"), "Invalid value"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    text = GOOD.replace(*change)
    assert text != GOOD
    file = write(tmp_path, text)
    with pytest.raises(ConfigurationInvalid) as caught:
        load(file)
    assert str(caught.value).startswith(f"The configuration {file} cannot be used because ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith(": correct it and start qreplicad again.")


def test_a_configuration_without_ports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"ports: Field required|ports: Tuple should have at least 1 item"):
        load(write(tmp_path, GOOD.split("[[ports]]", maxsplit=1)[0]))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00", b"= 1"])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationInvalid):
        load(write(tmp_path, content))


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="No such file or directory"):
        load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigurationInvalid, match="Is a directory"):
        load(tmp_path)
