"""Describes the compiled binding of libiscsi to cffi (API mode); setup.py builds it from here.

Needs libiscsi's headers (Debian: libiscsi-dev), a C compiler and Python's headers. The C in ``native/`` makes of
libiscsi what suits a Python caller: no callback ever enters Python, completions are collected in batches.
"""

from cffi import FFI

_NATIVE = "src/qreplica/iscsi/initiator/native"

ffibuilder = FFI()

ffibuilder.cdef(
    """
    #define QR_DEPTH ...
    #define QR_STATUS_LOST ...
    #define SCSI_STATUS_GOOD ...
    #define SCSI_STATUS_CHECK_CONDITION ...
    #define SCSI_STATUS_BUSY ...
    #define SCSI_STATUS_RESERVATION_CONFLICT ...
    #define SCSI_STATUS_TASK_SET_FULL ...
    #define SCSI_XFER_NONE ...
    #define SCSI_XFER_READ ...
    #define SCSI_XFER_WRITE ...
    #define QR_CONNECTING ...
    #define QR_LOGGING_IN ...
    #define QR_READY ...
    #define QR_LOGGED_OUT ...
    #define QR_ENDED ...
    #define QR_SOCKET_ERROR ...
    #define QR_CLOSED_BY_PEER ...
    #define QR_NOT_ISCSI ...
    #define QR_REFUSED ...
    #define QR_UNPROVEN ...
    #define QR_SILENT ...
    #define QR_OVERDUE ...
    #define QR_NOT_BOUND ...
    #define QR_LIBRARY ...
    #define QR_CLOSED ...

    typedef struct qr_session qr_session;
    typedef struct {
        uint64_t tag;
        uint32_t status;
        uint32_t residual;
        uint16_t asc_ascq;
        uint8_t sense_key;
        uint8_t overflow;
    } qr_completion;

    qr_session *qr_new(const char *initiator_name);
    void qr_free(qr_session *s);
    void qr_set_isid(qr_session *s, uint32_t random, uint32_t qualifier);
    void qr_start(qr_session *s, const char *portal, const char *iqn, const char *user, const char *secret,
                  const char *mutual_user, const char *mutual_secret, const char *interface,
                  int header_digest, int interval_ms, int misses);
    void qr_step(qr_session *s, int timeout_ms);
    int qr_phase(const qr_session *s);
    int qr_ending(const qr_session *s);
    int qr_detail(const qr_session *s);
    const char *qr_text(const qr_session *s);
    int qr_header_digest(const qr_session *s);
    uint32_t qr_ping(qr_session *s);
    int qr_pinged(const qr_session *s, uint32_t number);
    uint32_t qr_reset(qr_session *s, uint32_t lun);
    int qr_was_reset(const qr_session *s, uint32_t number);
    int qr_reset_response(const qr_session *s);
    void qr_logout(qr_session *s);
    void qr_discover(qr_session *s);
    const char *qr_discovered(const qr_session *s);
    int qr_command(qr_session *s, uint64_t tag, int lun, const unsigned char *cdb, int cdb_size,
                   int direction, void *buffer, uint32_t length, int timeout_ms);
    int qr_transfer(qr_session *s, uint64_t tag, int lun, int direction, uint64_t lba, uint32_t blocks,
                    void *buffer, uint32_t length, int timeout_ms);
    int qr_in_flight(const qr_session *s);
    int qr_collect(qr_session *s, qr_completion *out, int most);
    int qr_is_zero(const void *buffer, size_t length);
    """
)

ffibuilder.set_source(
    "qreplica.iscsi.initiator._libiscsi",
    '#include "session.h"',
    sources=[f"{_NATIVE}/{name}.c" for name in ("session", "login", "commands", "requests")],
    depends=[f"{_NATIVE}/session.h"],
    include_dirs=[_NATIVE],
    libraries=["iscsi"],
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
)
