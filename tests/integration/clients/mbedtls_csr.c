/*
 * A device in C: makes a key with mbed TLS, and prints a certificate request for it, as firmware would.
 *
 *     mbedtls_csr p256|p384|p521|rsa2048|rsa3072|rsa4096 SUBJECT [usage]
 *
 * SUBJECT is what mbed TLS parses, such as "C=JP,O=Example,CN=sensor-1". With "usage" the request asks for
 * digitalSignature and keyEncipherment. Builds against mbed TLS 2.28 and 3.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/rsa.h>
#include <mbedtls/x509_csr.h>

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context generator;

/* End the program with mbed TLS's own words if a step failed. */
static void must(int result, const char *step)
{
    char reason[128];

    if (result >= 0)
        return;
    mbedtls_strerror(result, reason, sizeof(reason));
    fprintf(stderr, "%s: %s\n", step, reason);
    exit(1);
}

static mbedtls_ecp_group_id curve(const char *kind)
{
    if (strcmp(kind, "p256") == 0)
        return MBEDTLS_ECP_DP_SECP256R1;
    if (strcmp(kind, "p384") == 0)
        return MBEDTLS_ECP_DP_SECP384R1;
    if (strcmp(kind, "p521") == 0)
        return MBEDTLS_ECP_DP_SECP521R1;
    return MBEDTLS_ECP_DP_NONE;
}

static void make_key(mbedtls_pk_context *key, const char *kind)
{
    if (strncmp(kind, "rsa", 3) == 0) {
        must(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)), "setup");
        must(mbedtls_rsa_gen_key(mbedtls_pk_rsa(*key), mbedtls_ctr_drbg_random, &generator,
                                 (unsigned int) atoi(kind + 3), 65537),
             "RSA key");
        return;
    }
    must(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), "setup");
    must(mbedtls_ecp_gen_key(curve(kind), mbedtls_pk_ec(*key), mbedtls_ctr_drbg_random, &generator), "EC key");
}

static void print_request(mbedtls_pk_context *key, const char *subject, int with_usage)
{
    static unsigned char pem[4096];
    mbedtls_x509write_csr request;

    mbedtls_x509write_csr_init(&request);
    mbedtls_x509write_csr_set_md_alg(&request, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&request, key);
    must(mbedtls_x509write_csr_set_subject_name(&request, subject), "subject");
    if (with_usage)
        must(mbedtls_x509write_csr_set_key_usage(
                 &request, MBEDTLS_X509_KU_DIGITAL_SIGNATURE | MBEDTLS_X509_KU_KEY_ENCIPHERMENT),
             "usage");
    must(mbedtls_x509write_csr_pem(&request, pem, sizeof(pem), mbedtls_ctr_drbg_random, &generator), "request");
    fputs((const char *) pem, stdout);
    mbedtls_x509write_csr_free(&request);
}

int main(int count, char **arguments)
{
    mbedtls_pk_context key;

    if (count < 3 || count > 4) {
        fprintf(stderr, "usage: mbedtls_csr KIND SUBJECT [usage]\n");
        return 2;
    }
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&generator);
    must(mbedtls_ctr_drbg_seed(&generator, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
    mbedtls_pk_init(&key);
    make_key(&key, arguments[1]);
    print_request(&key, arguments[2], count == 4);
    mbedtls_pk_free(&key);
    mbedtls_ctr_drbg_free(&generator);
    mbedtls_entropy_free(&entropy);
    return 0;
}
