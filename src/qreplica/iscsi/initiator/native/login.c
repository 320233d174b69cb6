/* Guards the login: what arrives is looked at before libiscsi parses it.
 *
 * libiscsi ignores replies that match no request (garbage then looks like silence), gives the reason of a refusal only
 * as text, and can be led past mutual CHAP by a target that claims to be in another stage, or that sends its proof before it
 * was asked for one. Here the 48-byte header (RFC 7143, 11.13) and the keys decide. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "session.h"

enum { HEADER = 48, MOST_DATA = 8192, LOGIN_RESPONSE = 0x23, TRANSIT = 0x80, SECURITY_STAGE = 0 };

static const char *find_key(const char *data, size_t length, const char *key)
{
    size_t size = strlen(key);
    const char *end = data + length;

    while (data < end) {
        const char *stop = memchr(data, 0, (size_t)(end - data));
        if (stop == NULL)
            return NULL;
        if ((size_t)(stop - data) >= size && memcmp(data, key, size) == 0)
            return data + size;
        data = stop + 1;
    }
    return NULL;
}

/* The only way to be proven: a reply that brings nothing but the challenge, then one that leaves the security stage
 * with the answer to ours (whose value libiscsi compares). */
static int mutual_is_in_order(qr_session *s, unsigned char flags, const char *data, size_t length)
{
    int stage = (flags >> 2) & 3;

    if (s->proven)
        return 1;
    if (stage != SECURITY_STAGE)
        return 0;
    if (!s->challenged) {
        if (flags & TRANSIT || find_key(data, length, "CHAP_R=") || find_key(data, length, "CHAP_N="))
            return 0;
        s->challenged = find_key(data, length, "CHAP_C=0x") && !find_key(data, length, "AuthMethod=");
        return 1;
    }
    if (flags & TRANSIT) {
        if (!find_key(data, length, "CHAP_R=0x"))
            return 0;
        s->proven = 1;
    }
    return 1;
}

int qr_admit_login_reply(qr_session *s)
{
    unsigned char pdu[HEADER + MOST_DATA];
    ssize_t got = recv(iscsi_get_fd(s->iscsi), pdu, sizeof(pdu), MSG_PEEK | MSG_DONTWAIT);
    size_t length;
    const char *digest;
    int status;

    if (got == 0) {
        qr_end(s, QR_CLOSED_BY_PEER, 0);
        return -1;
    }
    if (got < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        qr_end(s, QR_SOCKET_ERROR, errno);
        return -1;
    }
    if (pdu[0] != LOGIN_RESPONSE) {
        qr_end(s, QR_NOT_ISCSI, 0);
        return -1;
    }
    if (got < HEADER)
        return 0;
    length = (size_t)pdu[5] << 16 | (size_t)pdu[6] << 8 | pdu[7];
    if (pdu[3] != 0 || pdu[4] != 0 || length > MOST_DATA) {
        qr_end(s, QR_NOT_ISCSI, 0);
        return -1;
    }
    status = pdu[36] << 8 | pdu[37];
    if (status != 0) {
        qr_end(s, QR_REFUSED, status);
        return -1;
    }
    if ((size_t)got < HEADER + ((length + 3) & ~(size_t)3))
        return 0;
    if (s->mutual && !mutual_is_in_order(s, pdu[1], (const char *)pdu + HEADER, length)) {
        qr_end(s, QR_UNPROVEN, 0);
        return -1;
    }
    digest = find_key((const char *)pdu + HEADER, length, "HeaderDigest=");
    if (digest != NULL)
        s->header_digest = strcmp(digest, "CRC32C") == 0;
    return 1;
}
