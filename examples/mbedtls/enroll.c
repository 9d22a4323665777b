/*
 * A device in C: makes its key and request with mbed TLS, enrolls over verified TLS, stores key and certificate.
 *
 *     echo SECRET | enroll HOST PORT FINGERPRINT THING FOLDER
 *
 * HOST, PORT and FINGERPRINT (SHA-256 of the root, 64 hex digits) and SECRET are what "keyborn token create --json"
 * tells. HOST is a name (keyborn serve --name): mbed TLS 2.28 checks no addresses. FOLDER gets device.key,
 * device.crt and roots.pem, each of them 0600, whole or not at all. The key is stored before it is used, and a key
 * that is there is used again: after a power cut the same request gets the same certificate.
 * Ends with 0: enrolled; 1: refused or failed; 2: usage; 75: try again later (Retry-After is printed).
 * For mbed TLS 2.28; the macros below hold what is different in 3. All memory of its own is static.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/sha256.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define SHA256(data, size, digest) mbedtls_sha256(data, size, digest, 0)
#define PARSE_KEY(key, data, size) \
    mbedtls_pk_parse_key(key, data, size, NULL, 0, mbedtls_ctr_drbg_random, &generator)
#define IS_PAIR(public, key) mbedtls_pk_check_pair(public, key, mbedtls_ctr_drbg_random, &generator)
#else
#define SHA256(data, size, digest) mbedtls_sha256_ret(data, size, digest, 0)
#define PARSE_KEY(key, data, size) mbedtls_pk_parse_key(key, data, size, NULL, 0)
#define IS_PAIR(public, key) mbedtls_pk_check_pair(public, key)
#endif

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define LATER 75
#define READ_TIMEOUT_MS 30000
#define TIME_LIMIT_S 60 /* of the whole program: a service that sends a byte now and then holds nobody */

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context generator;
static mbedtls_x509_crt root;
static mbedtls_pk_context key;
static char csr[4096], request[8192], message[16384], answer[65536];
static char certificate[8192], intermediate[8192], chain[16384], roots[16384];

static _Noreturn void fail(int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(code);
}

/* End the program with mbed TLS's own words if a step failed; else its result. */
static int must(int result, int code, const char *step)
{
    char reason[128];

    if (result >= 0)
        return result;
    mbedtls_strerror(result, reason, sizeof(reason));
    fail(code, "%s: %s", step, reason);
}

/* snprintf that ends the program where the text does not fit. */
static size_t print(char *to, size_t room, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(to, room, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t) length >= room)
        fail(1, "a text is too long");
    return (size_t) length;
}

/* The whole text of a file that is ours alone, or an empty one where there is none. */
static void read_file(const char *path, char *to, size_t room)
{
    struct stat about;
    ssize_t size;
    int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    to[0] = '\0';
    if (file < 0 && errno == ENOENT)
        return;
    if (file < 0 || fstat(file, &about) != 0 || !S_ISREG(about.st_mode) || (about.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        fail(1, "%s cannot be read, or is open to others: its mode must be 0600", path);
    size = read(file, to, room - 1);
    if (size <= 0 || (size_t) size >= room - 1)
        fail(1, "%s cannot be read, is empty, or is too long", path);
    to[size] = '\0';
    close(file);
}

/* Store a text durably, 0600 from its first byte, under its name only when it is whole. */
static void write_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    size_t size = strlen(text), written = 0;
    ssize_t length;
    int file, folder_file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    print(path, sizeof(path), "%s/%s", folder, name);
    print(fresh, sizeof(fresh), "%s.new", path);
    (void) unlink(fresh); /* of a run that was cut off */
    file = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (file < 0 || folder_file < 0)
        fail(1, "%s cannot be written: %s", fresh, strerror(errno));
    while (written < size && (length = write(file, text + written, size - written)) > 0)
        written += (size_t) length;
    if (written < size || fsync(file) != 0 || close(file) != 0 || rename(fresh, path) != 0 || fsync(folder_file) != 0)
        fail(1, "%s cannot be written: %s", path, strerror(errno));
    close(folder_file);
}

/* Take the key that is there, or make one; either way it is stored when this returns. */
static void get_key(const char *folder)
{
    static char pem[2048];
    char path[PATH_MAX];

    print(path, sizeof(path), "%s/device.key", folder);
    read_file(path, pem, sizeof(pem));
    if (pem[0] != '\0') {
        must(PARSE_KEY(&key, (const unsigned char *) pem, strlen(pem) + 1), 1, path);
    } else {
        must(mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), 1, "key");
        must(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), mbedtls_ctr_drbg_random, &generator),
             1, "key");
        must(mbedtls_pk_write_key_pem(&key, (unsigned char *) pem, sizeof(pem)), 1, "key");
        write_file(folder, "device.key", pem);
    }
    mbedtls_platform_zeroize(pem, sizeof(pem));
}

static void make_csr(const char *thing)
{
    mbedtls_x509write_csr writer;
    char subject[80];

    print(subject, sizeof(subject), "CN=%s", thing);
    mbedtls_x509write_csr_init(&writer);
    mbedtls_x509write_csr_set_md_alg(&writer, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&writer, &key);
    must(mbedtls_x509write_csr_set_subject_name(&writer, subject), 1, "subject");
    must(mbedtls_x509write_csr_pem(&writer, (unsigned char *) csr, sizeof(csr), mbedtls_ctr_drbg_random, &generator), 1,
         "request");
    mbedtls_x509write_csr_free(&writer);
}

/* {"thingName": …, "csr": …}; of all that JSON escapes, a PEM holds line ends alone. */
static size_t make_body(const char *thing)
{
    size_t size = print(request, sizeof(request), "{\"thingName\":\"%s\",\"csr\":\"", thing);
    const char *from;

    for (from = csr; *from != '\0' && size < sizeof(request) - 5; from++) {
        if (*from == '\n')
            request[size++] = '\\';
        request[size++] = *from == '\n' ? 'n' : *from;
    }
    return size + print(request + size, sizeof(request) - size, "\"}");
}

static void send_all(mbedtls_ssl_context *tls, const char *text, size_t size)
{
    const unsigned char *from = (const unsigned char *) text, *end = from + size;

    while (from < end)
        from += must(mbedtls_ssl_write(tls, from, (size_t) (end - from)), LATER, "sending");
}

/* Read to the end of the connection, into answer; that it is whole, its Content-Length says. */
static void receive_all(mbedtls_ssl_context *tls)
{
    size_t size = 0;
    int result;

    do {
        result = mbedtls_ssl_read(tls, (unsigned char *) answer + size, sizeof(answer) - 1 - size);
        if (result == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || result == MBEDTLS_ERR_SSL_CONN_EOF)
            result = 0;
        size += (size_t) must(result, LATER, "receiving");
    } while (result > 0 && size < sizeof(answer) - 1);
    answer[size] = '\0';
    if (size == sizeof(answer) - 1 || memchr(answer, '\0', size) != NULL)
        fail(1, "the answer is too long, or no text");
}

/* One request and its answer. Trust is NULL where nothing is known yet: then the request holds no secret. */
static void ask(const char *host, const char *port, mbedtls_x509_crt *trust, const char *text, size_t size)
{
    mbedtls_ssl_context tls;
    mbedtls_ssl_config config;
    mbedtls_net_context net;

    mbedtls_net_init(&net);
    mbedtls_ssl_init(&tls);
    mbedtls_ssl_config_init(&config);
    must(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT), 1, "TLS");
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &generator);
    mbedtls_ssl_conf_read_timeout(&config, READ_TIMEOUT_MS);
    mbedtls_ssl_conf_authmode(&config, trust != NULL ? MBEDTLS_SSL_VERIFY_REQUIRED : MBEDTLS_SSL_VERIFY_NONE);
    if (trust != NULL)
        mbedtls_ssl_conf_ca_chain(&config, trust, NULL);
    must(mbedtls_ssl_setup(&tls, &config), 1, "TLS");
    must(mbedtls_ssl_set_hostname(&tls, host), 1, "host name");
    must(mbedtls_net_connect(&net, host, port, MBEDTLS_NET_PROTO_TCP), LATER, "connecting");
    mbedtls_ssl_set_bio(&tls, &net, mbedtls_net_send, NULL, mbedtls_net_recv_timeout);
    must(mbedtls_ssl_handshake(&tls), trust != NULL ? 1 : LATER, "TLS handshake");
    send_all(&tls, text, size);
    receive_all(&tls);
    (void) mbedtls_ssl_close_notify(&tls);
    mbedtls_net_free(&net);
    mbedtls_ssl_free(&tls);
    mbedtls_ssl_config_free(&config);
}

/* The value of a header of answer, or NULL. It ends with its line. */
static const char *header(const char *name)
{
    const char *end = strstr(answer, "\r\n\r\n"), *line = answer;
    size_t length = strlen(name);

    while (end != NULL && (line = strstr(line, "\r\n")) != NULL && line < end) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1;
    }
    return NULL;
}

/* The body of answer, whole; its status in *status. */
static const char *body(int *status)
{
    const char *end = strstr(answer, "\r\n\r\n"), *length = header("content-length");

    if (sscanf(answer, "HTTP/1.%*1[01] %3d", status) != 1 || end == NULL || length == NULL)
        fail(LATER, "this is no answer of Keyborn's");
    if (strtoul(length, NULL, 10) != strlen(end + 4))
        fail(LATER, "the answer is cut short");
    return end + 4;
}

/* Copy the string of that name out of a JSON text. Of its escapes, PEM and our codes need \n alone. */
static void field(const char *json, const char *name, char *to, size_t room)
{
    char wanted[64];
    const char *from;
    size_t size = 0;

    print(wanted, sizeof(wanted), "\"%s\":\"", name);
    from = strstr(json, wanted);
    for (from = from != NULL ? from + strlen(wanted) : "\""; *from != '"' && *from != '\0'; from++) {
        if (size + 1 >= room || (*from == '\\' && *++from != 'n'))
            fail(1, "%s in the answer is not usable", name);
        to[size++] = from[-1] == '\\' ? '\n' : *from;
    }
    to[size] = '\0';
}

/* Fetch the roots, and keep the one whose SHA-256 is the fingerprint: that one alone is trusted. */
static void get_root(const char *host, const char *port, const char *fingerprint)
{
    mbedtls_x509_crt bundle, *each;
    unsigned char digest[32];
    char hex[65];
    const char *pem;
    size_t i, size;
    int status;

    size = print(message, sizeof(message),
                 "GET /v1/trust-bundle HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", host, port);
    ask(host, port, NULL, message, size);
    pem = body(&status);
    mbedtls_x509_crt_init(&bundle);
    if (status != 200 || mbedtls_x509_crt_parse(&bundle, (const unsigned char *) pem, strlen(pem) + 1) != 0)
        fail(LATER, "the service tells no roots (status %d)", status);
    for (each = &bundle; each != NULL; each = each->next) {
        must(SHA256(each->raw.p, each->raw.len, digest), 1, "SHA-256");
        for (i = 0; i < sizeof(digest); i++)
            print(hex + 2 * i, 3, "%02x", digest[i]);
        if (strcasecmp(hex, fingerprint) == 0)
            must(mbedtls_x509_crt_parse_der(&root, each->raw.p, each->raw.len), 1, "root");
    }
    mbedtls_x509_crt_free(&bundle);
    if (root.raw.len == 0)
        fail(1, "this is another service: its root has not that fingerprint");
}

/* Send the request; returns the body of a good answer, and ends the program at any other. */
static const char *get_answer(const char *host, const char *port, const char *secret, size_t size)
{
    char code[64];
    const char *text, *wait;
    int status;

    size = print(message, sizeof(message),
                 "POST /v1/enroll HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\nAuthorization: Bearer %s\r\n"
                 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 host, port, secret, size, request);
    ask(host, port, &root, message, size);
    mbedtls_platform_zeroize(message, sizeof(message));
    text = body(&status);
    if (status == 200 || status == 201)
        return text;
    wait = header("retry-after");
    if (status == 429 || status >= 500)
        fail(LATER, "status %d, try again in %ld s or more", status, wait != NULL ? strtol(wait, NULL, 10) : 1);
    field(text, "code", code, sizeof(code));
    fail(1, "refused: %d %s", status, code);
}

/* The answer is for this thing, its certificate for our key; it leads to the root and is a client's. */
static void check(const char *text, const char *thing)
{
    mbedtls_x509_crt leaf;
    char name[65];
    uint32_t flaws;

    field(text, "thingName", name, sizeof(name));
    if (strcmp(name, thing) != 0)
        fail(1, "the answer is for another thing");
    mbedtls_x509_crt_init(&leaf);
    if (mbedtls_x509_crt_parse(&leaf, (const unsigned char *) chain, strlen(chain) + 1) != 0
        || IS_PAIR(&leaf.pk, &key) != 0)
        fail(1, "the certificate cannot be read, or is for another key");
    if (mbedtls_x509_crt_verify(&leaf, &root, NULL, NULL, &flaws, NULL, NULL) != 0)
        fail(1, "the certificate does not lead to the root, or the clock is wrong (flaws 0x%x)", (unsigned) flaws);
    if (mbedtls_x509_crt_check_extended_key_usage(&leaf, MBEDTLS_OID_CLIENT_AUTH,
                                                  MBEDTLS_OID_SIZE(MBEDTLS_OID_CLIENT_AUTH)) != 0)
        fail(1, "the certificate is not for a client");
    mbedtls_x509_crt_free(&leaf);
}

/* The secret's line from standard input: an argument would stand in the process list. */
static void read_secret(char *secret, size_t room)
{
    if (fgets(secret, (int) room, stdin) == NULL)
        fail(2, "no secret on standard input");
    secret[strcspn(secret, "\n")] = '\0';
    if (secret[0] == '\0' || secret[strspn(secret, ALNUM "_-")] != '\0')
        fail(2, "this is no secret of Keyborn's");
}

int main(int count, char **words)
{
    const char *text, *thing = count == 6 ? words[4] : "", *folder = count == 6 ? words[5] : "";
    char secret[128];

    if (thing[0] == '\0' || strlen(thing) > 64 || thing[strspn(thing, ALNUM ":_-")] != '\0')
        fail(2, "usage: echo SECRET | enroll HOST PORT FINGERPRINT THING FOLDER");
    read_secret(secret, sizeof(secret));
    signal(SIGPIPE, SIG_IGN);
    alarm(TIME_LIMIT_S);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&generator);
    mbedtls_x509_crt_init(&root);
    mbedtls_pk_init(&key);
    must(mbedtls_ctr_drbg_seed(&generator, mbedtls_entropy_func, &entropy, NULL, 0), 1, "seed");
    get_root(words[1], words[2], words[3]);
    get_key(folder);
    make_csr(thing);
    text = get_answer(words[1], words[2], secret, make_body(thing));
    mbedtls_platform_zeroize(secret, sizeof(secret));
    field(text, "certificatePem", certificate, sizeof(certificate));
    field(text, "chainPem", intermediate, sizeof(intermediate));
    field(text, "rootsPem", roots, sizeof(roots));
    print(chain, sizeof(chain), "%s%s", certificate, intermediate);
    check(text, thing);
    write_file(folder, "roots.pem", roots);
    write_file(folder, "device.crt", chain);
    printf("%s is enrolled\n", thing);
    mbedtls_pk_free(&key);
    return 0;
}
