from _cffi_backend import FFI

_CData = FFI.CData

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

    def qr_new(self, initiator_name: bytes) -> _CData: ...
    def qr_free(self, s: _CData) -> None: ...
    def qr_set_isid(self, s: _CData, random: int, qualifier: int) -> None: ...
    def qr_start(
        self,
        s: _CData,
        portal: bytes,
        iqn: bytes | _CData,
        user: bytes | _CData,
        secret: bytes | _CData,
        mutual_user: bytes | _CData,
        mutual_secret: bytes | _CData,
        interface: bytes | _CData,
        header_digest: int,
        interval_ms: int,
        misses: int,
    ) -> None: ...
    def qr_step(self, s: _CData, timeout_ms: int) -> None: ...
    def qr_phase(self, s: _CData) -> int: ...
    def qr_ending(self, s: _CData) -> int: ...
    def qr_detail(self, s: _CData) -> int: ...
    def qr_text(self, s: _CData) -> _CData: ...
    def qr_header_digest(self, s: _CData) -> int: ...
    def qr_ping(self, s: _CData) -> int: ...
    def qr_pinged(self, s: _CData, number: int) -> int: ...
    def qr_reset(self, s: _CData, lun: int) -> int: ...
    def qr_was_reset(self, s: _CData, number: int) -> int: ...
    def qr_reset_response(self, s: _CData) -> int: ...
    def qr_logout(self, s: _CData) -> None: ...
    def qr_discover(self, s: _CData) -> None: ...
    def qr_discovered(self, s: _CData) -> _CData: ...
    def qr_command(
        self,
        s: _CData,
        tag: int,
        lun: int,
        cdb: bytes,
        cdb_size: int,
        direction: int,
        buffer: _CData,
        length: int,
        timeout_ms: int,
    ) -> int: ...
    def qr_transfer(
        self,
        s: _CData,
        tag: int,
        lun: int,
        direction: int,
        lba: int,
        blocks: int,
        buffer: _CData,
        length: int,
        timeout_ms: int,
    ) -> int: ...
    def qr_in_flight(self, s: _CData) -> int: ...
    def qr_collect(self, s: _CData, out: _CData, most: int) -> int: ...
    def qr_is_zero(self, buffer: _CData, length: int) -> int: ...

class _Ffi(FFI):
    def string(self, cdata: _CData, maxlen: int = -1) -> bytes: ...

lib: _Lib
ffi: _Ffi
