"""Sizes, rates and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qreplica.units import (
    GIB,
    KIB,
    MIB,
    TIB,
    NotAnInterval,
    NotASize,
    format_duration,
    format_minutes,
    format_rate,
    format_size,
    parse_minutes,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("1k", KIB),
        ("1KB", KIB),
        ("512MiB", 512 * MIB),
        (" 512 mib ", 512 * MIB),
        ("1.5 GiB", GIB + 512 * MIB),
        ("0.5K", 512),
        ("2T", 2 * TIB),
        ("9007199254740993", 9007199254740993),
        ("8388607.99609375 GiB", 9007199250546688),
    ],
)
def test_sizes_are_read_exactly(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ten",
        "-1",
        "+1",
        "1.",
        ".5",
        "1e3",
        "1,5G",
        "1 G i B",
        "0.1K",
        "1.5",
        "5P",
        "0x10",
        "١٢",
        "9" * 400 + "." + "9" * 400,
        "1\n2",
        "nan",
    ],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(NotASize, match="is not a size: write a number with a binary unit"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**80))
def test_a_number_of_bytes_is_itself(size: int) -> None:
    assert parse_size(str(size)) == size


@given(st.integers(min_value=0, max_value=1023), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_whole_units_are_written_as_they_are_read(count: int, unit: str) -> None:
    size = parse_size(f"{count} {unit}")
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (1536, "1.50 KiB"),
        (MIB - 1, "1.00 MiB"),
        (GIB - 1, "1.00 GiB"),
        (GIB - 64 * MIB, "960 MiB"),
        (10 * GIB, "10 GiB"),
        (10 * GIB + 1, "10.00 GiB"),
        (5000 * TIB, "5000 TiB"),
        (-2 * GIB, "-2 GiB"),
    ],
)
def test_sizes_are_written_with_the_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_rate_is_a_size_a_second() -> None:
    assert format_rate(1.5 * GIB) == "1.50 GiB/s"
    assert format_rate(0) == "0 B/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "minutes", "written"),
    [
        ("1", 1, "1m"),
        ("90m", 90, "90m"),
        (" 2 H ", 120, "2h"),
        ("15min", 15, "15m"),
        ("1d", 1440, "1d"),
        ("24h", 1440, "1d"),
    ],
)
def test_intervals_are_read_and_written_in_whole_minutes(text: str, minutes: int, written: str) -> None:
    assert parse_minutes(text) == minutes
    assert format_minutes(minutes) == written
    assert parse_minutes(written) == minutes


@pytest.mark.parametrize("text", ["", "m", "1.5h", "-1h", "1w", "1 hour", "9" * 10, "1h30m"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(NotAnInterval, match="is not an interval: write a whole number"):
        parse_minutes(text)
