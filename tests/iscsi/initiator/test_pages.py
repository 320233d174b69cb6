from qreplica.iscsi.initiator import BlockLimits, Capacity, Designator, Inquiry, Provisioning, pages


def test_inquiry_data_cut_short_still_name_what_they_name() -> None:
    assert pages.inquiry(b"") == Inquiry("", "", "")
    assert pages.inquiry(bytes(8) + b"IET     VIRT") == Inquiry("IET", "VIRT", "")


def test_a_page_is_what_its_header_says_and_nothing_else() -> None:
    data = b"\x00\x80\x00\x04SN01rest"
    assert pages.page(data, 0x80) == b"SN01"
    assert pages.page(data, 0x83) == b""
    assert pages.page(data[:3], 0x80) == b""


def test_a_designator_that_runs_over_the_end_ends_the_list() -> None:
    body = b"\x02\x01\x00\x04QSAN" + b"\x01\x13\x00\x08\xaa\xbb"
    assert pages.designators(body) == [Designator(1, 0, "QSAN"), Designator(3, 1, "aabb")]
    assert pages.designators(body[:3]) == []


def test_limits_that_an_older_target_leaves_out_are_none() -> None:
    assert pages.block_limits(b"\0" * 12) == BlockLimits()
    assert pages.provisioning(b"") == Provisioning(unmap=False, write_same_16=False, reads_zeros=False)


def test_a_capacity_beyond_32_bits() -> None:
    data = (2**40 - 1).to_bytes(8, "big") + (4096).to_bytes(4, "big") + bytes(20)
    assert pages.capacity(data) == Capacity(2**40, 4096, thin=False)


def test_a_list_of_luns_may_be_cut_short_and_flat_addressed() -> None:
    def entry(lun: int) -> bytes:
        return lun.to_bytes(2, "big") + bytes(6)

    head = (32).to_bytes(4, "big") + bytes(4)
    assert pages.luns(head + entry(0x4102) + entry(1) + entry(0)) == [0, 1, 0x102]
    assert pages.luns(head + entry(3) + entry(5)[:7]) == [3]
