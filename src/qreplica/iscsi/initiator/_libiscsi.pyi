from _cffi_backend import FFI, CData

class _Lib:
    QR_DEPTH: int
    QR_STATUS_LOST: int
    SCSI_STATUS_GOOD: int
    SCSI_STATUS_CHECK_CONDITION: int
    SCSI_STATUS_BUSY: int
    SCSI_STATUS_RESERVATION_CONFLICT: int
    SCSI_STATUS_TASK_SET_FULL: int
    SCSI_XFER_NONE: int
    SCSI_XFER_READ: int
    SCSI_XFER_WRITE: int
    SCSI_SENSE_UNIT_ATTENTION: int
    QR_CONNECTING: int
    QR_LOGGING_IN: int
    QR_READY: int
    QR_LOGGED_OUT: int
    QR_ENDED: int
    QR_SOCKET_ERROR: int
    QR_CLOSED_BY_PEER: int
    QR_NOT_ISCSI: int
    QR_REFUSED: int
    QR_UNPROVEN: int
    QR_SILENT: int
    QR_OVERDUE: int
    QR_NOT_BOUND: int
    QR_LIBRARY: int
    QR_CLOSED: int

    def qr_new(self, initiator_name: bytes) -> CData: ...
    def qr_free(self, s: CData) -> None: ...
    def qr_start(
        self,
        s: CData,
        portal: bytes,
        iqn: bytes | CData,
        user: bytes | CData,
        secret: bytes | CData,
        mutual_user: bytes | CData,
        mutual_secret: bytes | CData,
        interface: bytes | CData,
        header_digest: int,
        interval_ms: int,
        misses: int,
    ) -> None: ...
    def qr_step(self, s: CData, timeout_ms: int) -> None: ...
    def qr_phase(self, s: CData) -> int: ...
    def qr_ending(self, s: CData) -> int: ...
    def qr_detail(self, s: CData) -> int: ...
    def qr_text(self, s: CData) -> CData: ...
    def qr_header_digest(self, s: CData) -> int: ...
    def qr_ping(self, s: CData) -> int: ...
    def qr_pinged(self, s: CData, number: int) -> int: ...
    def qr_logout(self, s: CData) -> None: ...
    def qr_discover(self, s: CData) -> None: ...
    def qr_discovered(self, s: CData) -> CData: ...
    def qr_command(
        self,
        s: CData,
        tag: int,
        lun: int,
        cdb: bytes,
        cdb_size: int,
        direction: int,
        buffer: CData,
        length: int,
        timeout_ms: int,
    ) -> int: ...
    def qr_transfer(
        self,
        s: CData,
        tag: int,
        lun: int,
        direction: int,
        lba: int,
        blocks: int,
        buffer: CData,
        length: int,
        timeout_ms: int,
    ) -> int: ...
    def qr_in_flight(self, s: CData) -> int: ...
    def qr_collect(self, s: CData, out: CData, most: int) -> int: ...
    def qr_sense_key_words(self, key: int) -> CData: ...
    def qr_sense_code_words(self, asc_ascq: int) -> CData: ...
    def qr_is_zero(self, buffer: CData, length: int) -> int: ...

lib: _Lib
ffi: FFI
